#pragma once
// Listeners: which process answers on an address of this machine, and what else it listens on and
// talks to, read from /proc. Empty where /proc does not tell (another user's process).

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "spec/value.h"

namespace banyan::control {

struct RunningApp {
  std::vector<int> pids;  // all that share the listening socket
  std::string command;    // of the oldest
  std::string cwd;
  std::vector<std::string> listens;                // every listening address of those processes
  std::vector<std::string> talks_to;               // remote ends of their connections, unique
  std::map<std::string, std::string> environment;  // of the oldest; may hold secrets: do not print
};

// Nothing when no process can be seen that listens on the address.
std::optional<RunningApp> find_running(const spec::Address& address);

}  // namespace banyan::control
