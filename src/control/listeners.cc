#include "control/listeners.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/proc.h"

namespace banyan::control {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string joined_words(std::string text) {
  while (text.ends_with('\0')) text.pop_back();
  std::ranges::replace(text, '\0', ' ');
  return text;
}

void add_sockets(RunningApp& app, const std::vector<TcpSocket>& all, const std::set<long>& inodes) {
  std::set<std::string> listens(app.listens.begin(), app.listens.end());
  std::set<std::string> talks_to(app.talks_to.begin(), app.talks_to.end());
  std::set<std::string> own;
  for (const TcpSocket& socket : all) {
    if (!inodes.contains(socket.inode)) continue;
    (socket.listening ? listens : talks_to).insert(socket.listening ? socket.local : socket.remote);
    if (!socket.listening && listens.contains(socket.local)) own.insert(socket.remote);
  }
  for (const auto& client : own) talks_to.erase(client);  // users' connections to the application
  app.listens.assign(listens.begin(), listens.end());
  app.talks_to.assign(talks_to.begin(), talks_to.end());
}

}  // namespace

std::optional<RunningApp> find_running(const spec::Address& address) {
  const auto all = tcp_sockets();
  RunningApp app;
  for (const int pid : all_pids()) {
    const fs::path process = fmt::format("/proc/{}", pid);
    const auto inodes = socket_inodes(pid);
    const auto answers = [&](const TcpSocket& socket) {
      return inodes.contains(socket.inode) && listens_on(socket, address.host, address.port);
    };
    if (std::ranges::none_of(all, answers)) continue;
    if (app.pids.empty()) {
      std::error_code error;
      app.command = joined_words(read(process / "cmdline"));
      app.cwd = fs::read_symlink(process / "cwd", error).string();
      app.environment = environment_of(pid);
    }
    app.pids.push_back(pid);
    add_sockets(app, all, inodes);
  }
  if (app.pids.empty()) return std::nullopt;
  return app;
}

}  // namespace banyan::control
