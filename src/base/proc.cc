#include "base/proc.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace banyan {
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

std::vector<TcpSocket> tcp_sockets() {
  auto all = parse_proc_net(read("/proc/net/tcp"));
  std::ranges::move(parse_proc_net(read("/proc/net/tcp6")), std::back_inserter(all));
  return all;
}

bool listens_on(const TcpSocket& socket, const std::string& host, int port) {
  if (!socket.listening) return false;
  const auto end = fmt::format(":{}", port);
  const bool any = socket.local == "0.0.0.0" + end || socket.local == "[::]" + end;
  const std::string named = host == "localhost" ? "127.0.0.1" : host;
  return any || socket.local == named + end || socket.local == "[" + named + "]" + end;
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

// The name in parentheses may hold anything, so fields are counted after the last ')'.
std::optional<ProcessStat> stat_of(int pid) {
  const std::string text = read(fmt::format("/proc/{}/stat", pid));
  const auto end = text.rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(end + 1));
  const std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
  if (fields.size() < 20) return std::nullopt;
  return ProcessStat{.state = fields[0][0],
                     .parent = std::atoi(fields[1].c_str()),
                     .session = std::atoi(fields[3].c_str()),
                     .start_time = std::strtoull(fields[19].c_str(), nullptr, 10)};
}

int parent_of(int pid) {
  return stat_of(pid).value_or(ProcessStat{}).parent;
}

std::string program_of(int pid) {
  std::string name = read(fmt::format("/proc/{}/comm", pid));
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

std::map<std::string, std::string> environment_of(int pid) {
  std::map<std::string, std::string> variables;
  std::istringstream entries(read(fmt::format("/proc/{}/environ", pid)));
  std::string entry;
  while (std::getline(entries, entry, '\0')) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos) variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return variables;
}

std::set<long> socket_inodes(int pid) {
  std::set<long> inodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
    const auto target = fs::read_symlink(entry.path(), error).string();
    if (!target.starts_with("socket:[")) continue;
    inodes.insert(std::strtol(target.c_str() + std::strlen("socket:["), nullptr, 10));
  }
  return inodes;
}

}  // namespace banyan
