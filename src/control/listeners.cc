#include "control/listeners.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace banyan::control {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kListenState = "0A";

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// "0100007F" or 32 hex digits, as the kernel prints addresses: words in host order.
std::string address_text(std::string_view hex) {
  std::array<std::uint32_t, 4> words{};
  const auto count = hex.size() / 8;
  if (count != 1 && count != 4) return {};
  for (std::size_t i = 0; i < count; ++i) {
    const auto word = hex.substr(i * 8, 8);
    std::from_chars(word.data(), word.data() + word.size(), words.at(i), 16);
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(count == 1 ? AF_INET : AF_INET6, words.data(), text.data(), text.size());
  const bool mapped = std::string_view(text.data()).starts_with("::ffff:");
  if (count == 1) return text.data();
  return mapped ? std::string(text.data() + 7) : fmt::format("[{}]", text.data());
}

std::string endpoint_text(std::string_view hex) {
  const auto colon = hex.find(':');
  if (colon == std::string_view::npos) return {};
  unsigned port = 0;
  const auto digits = hex.substr(colon + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port, 16);
  return fmt::format("{}:{}", address_text(hex.substr(0, colon)), port);
}

std::vector<TcpSocket> sockets() {
  auto all = parse_proc_net(read("/proc/net/tcp"));
  std::ranges::move(parse_proc_net(read("/proc/net/tcp6")), std::back_inserter(all));
  return all;
}

std::set<long> inodes_of(const fs::path& process) {
  std::set<long> inodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(process / "fd", error)) {
    const auto target = fs::read_symlink(entry.path(), error).string();
    if (!target.starts_with("socket:[")) continue;
    inodes.insert(std::strtol(target.c_str() + std::strlen("socket:["), nullptr, 10));
  }
  return inodes;
}

bool listens_on(const TcpSocket& socket, const spec::Address& address) {
  if (!socket.listening) return false;
  const auto port = fmt::format(":{}", address.port);
  const std::string host = address.host == "localhost" ? "127.0.0.1" : address.host;
  const bool any = socket.local == "0.0.0.0" + port || socket.local == "[::]" + port;
  return any || socket.local == host + port || socket.local == "[" + host + "]" + port;
}

std::string joined_words(std::string text) {
  while (text.ends_with('\0')) text.pop_back();
  std::ranges::replace(text, '\0', ' ');
  return text;
}

std::map<std::string, std::string> parse_environment(const std::string& text) {
  std::map<std::string, std::string> variables;
  std::istringstream entries(text);
  std::string entry;
  while (std::getline(entries, entry, '\0')) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos) variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return variables;
}

std::vector<int> all_pids() {
  std::vector<int> pids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const auto name = entry.path().filename().string();
    int pid = 0;
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (failed == std::errc() && end == name.data() + name.size()) pids.push_back(pid);
  }
  std::ranges::sort(pids);
  return pids;
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

std::vector<TcpSocket> parse_proc_net(std::string_view text) {
  std::vector<TcpSocket> sockets;
  std::istringstream lines{std::string(text)};
  std::string line;
  std::getline(lines, line);  // headings
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string slot;
    std::string local;
    std::string remote;
    std::string state;
    std::string skipped;
    TcpSocket socket;
    fields >> slot >> local >> remote >> state;
    for (int i = 0; i < 5; ++i) fields >> skipped;
    if (!(fields >> socket.inode)) continue;
    socket.local = endpoint_text(local);
    socket.remote = endpoint_text(remote);
    socket.listening = state == kListenState;
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

std::optional<RunningApp> find_running(const spec::Address& address) {
  const auto all = sockets();
  RunningApp app;
  for (const int pid : all_pids()) {
    const fs::path process = fmt::format("/proc/{}", pid);
    const auto inodes = inodes_of(process);
    const auto answers = [&](const TcpSocket& socket) {
      return inodes.contains(socket.inode) && listens_on(socket, address);
    };
    if (std::ranges::none_of(all, answers)) continue;
    if (app.pids.empty()) {
      std::error_code error;
      app.command = joined_words(read(process / "cmdline"));
      app.cwd = fs::read_symlink(process / "cwd", error).string();
      app.environment = parse_environment(read(process / "environ"));
    }
    app.pids.push_back(pid);
    add_sockets(app, all, inodes);
  }
  if (app.pids.empty()) return std::nullopt;
  return app;
}

}  // namespace banyan::control
