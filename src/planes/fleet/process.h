#pragma once
// Processes of instances: each is the leader of its own session and group, so it outlives the
// agent, and is recognised again by pid and start time, or by a mark in its environment.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace banyan::fleet {

struct Process {
  int pid = 0;                   // 0: none
  std::uint64_t start_time = 0;  // clock ticks since boot: with the pid, unique
};

struct Launch {
  std::vector<std::string> command;        // argv; one element is a line for the shell
  std::string cwd;                         // empty: the agent's
  std::map<std::string, std::string> env;  // added to the agent's environment
  std::string log_path;                    // appended to: stdout and stderr
  std::string mark;                        // unique per launch
};

Result<Process> spawn(const Launch& launch);
// Notices the end of a child and of a process that was adopted; leaves no zombie.
bool is_alive(const Process& process);
// To the whole group; nothing when the process is not that one any more.
void signal_group(const Process& process, int signal);
// Kills everything that carries the mark: what a dead leader left behind.
void kill_marked(const std::string& mark);
// The session leader that carries the mark.
std::optional<Process> find_marked(const std::string& mark);

// A TCP port nobody listens on at this address now.
Result<int> free_port(const std::string& host);

// Moves `path` to `path`.1 when it has grown over `bytes_max`; the writer goes on in an empty file.
void rotate_log(const std::string& path, std::uint64_t bytes_max);

}  // namespace banyan::fleet
