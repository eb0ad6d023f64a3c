#pragma once
// Listeners: which process answers on an address of this machine, and what else it listens on and
// talks to, read from /proc. Empty where /proc does not tell (another user's process).

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/value.h"

namespace banyan::control {

struct TcpSocket {
  std::string local;   // "127.0.0.1:8000"
  std::string remote;  // "0.0.0.0:0" for a listening socket
  bool listening = false;
  long inode = 0;
};

struct RunningApp {
  std::vector<int> pids;  // all that share the listening socket
  std::string command;    // of the oldest
  std::string cwd;
  std::vector<std::string> listens;                // every listening address of those processes
  std::vector<std::string> talks_to;               // remote ends of their connections, unique
  std::map<std::string, std::string> environment;  // of the oldest; may hold secrets: do not print
};

// The lines of /proc/net/tcp or tcp6.
std::vector<TcpSocket> parse_proc_net(std::string_view text);
// Nothing when no process can be seen that listens on the address.
std::optional<RunningApp> find_running(const spec::Address& address);

}  // namespace banyan::control
