#pragma once
// Proc: processes and TCP sockets of this machine, from /proc (proc(5)). Any thread. What this user
// may not see, such as another user's open files and environment, reads as empty.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace banyan {

// In the environment of every process of an instance that Banyan started.
constexpr std::string_view kInstanceMark = "BANYAN_INSTANCE_MARK";

struct TcpSocket {
  std::string local;   // "127.0.0.1:8000", "[::1]:8000"
  std::string remote;  // "0.0.0.0:0" for a listening socket
  bool listening = false;
  long inode = 0;  // 0: no process holds it any more
};

// The lines of /proc/net/tcp or tcp6.
std::vector<TcpSocket> parse_proc_net(std::string_view text);
std::vector<TcpSocket> tcp_sockets();
// On exactly this address, or on any of the machine. `host` without brackets.
bool listens_on(const TcpSocket& socket, const std::string& host, int port);

struct ProcessStat {
  char state = 'X';
  int parent = 0;
  int session = 0;
  std::uint64_t start_time = 0;  // in clock ticks after boot: with the pid it names one process
  bool is_dead() const { return state == 'Z' || state == 'X'; }
};
std::optional<ProcessStat> stat_of(int pid);  // nothing: it is gone

std::vector<int> all_pids();  // ascending
// 0: it has none, or is gone.
int parent_of(int pid);
// The name of its program, at most 15 bytes.
std::string program_of(int pid);
std::map<std::string, std::string> environment_of(int pid);
// Of the sockets that it has open.
std::set<long> socket_inodes(int pid);

}  // namespace banyan
