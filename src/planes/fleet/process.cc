#include "planes/fleet/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "base/proc.h"

extern char** environ;

namespace banyan::fleet {
namespace {

bool is_dead(const std::optional<ProcessStat>& stat) {
  return !stat || stat->is_dead();
}

std::vector<int> pids_with(const std::string& mark) {
  const std::string name(kInstanceMark);
  auto pids = all_pids();
  std::erase_if(pids, [&](int pid) {
    const auto environment = environment_of(pid);
    const auto found = environment.find(name);
    return found == environment.end() || found->second != mark;
  });
  return pids;
}

std::vector<std::string> environment_for(const Launch& launch) {
  std::map<std::string, std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable = *entry;
    const auto equals = variable.find('=');
    if (equals != std::string_view::npos)
      merged.emplace(variable.substr(0, equals), variable.substr(equals + 1));
  }
  for (const auto& [name, value] : launch.env) merged[name] = value;
  merged[std::string(kInstanceMark)] = launch.mark;
  std::vector<std::string> out;
  for (const auto& [name, value] : merged) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& string : strings) out.push_back(string.data());
  out.push_back(nullptr);
  return out;
}

// The attributes and file actions of posix_spawn, freed together.
class SpawnPlan {
 public:
  explicit SpawnPlan(const Launch& launch) {
    posix_spawn_file_actions_init(&files_);
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_addopen(&files_, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files_, 1, launch.log_path.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&files_, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&files_, 3);
    if (!launch.cwd.empty()) posix_spawn_file_actions_addchdir_np(&files_, launch.cwd.c_str());
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&files_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  int run(int& pid, std::vector<std::string> command, std::vector<std::string> env) {
    const auto argv = pointers(command);
    const auto envp = pointers(env);
    return posix_spawnp(&pid, argv[0], &files_, &attributes_, argv.data(), envp.data());
  }

 private:
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

// posix_spawn returns when the child has a new address space, which the kernel fills a moment
// later: until then its environment, and with it the mark, reads as empty.
void await_mark(int pid) {
  while (!is_dead(stat_of(pid)) && environment_of(pid).empty()) std::this_thread::yield();
}

}  // namespace

Result<Process> spawn(const Launch& launch) {
  std::vector<std::string> command = launch.command;
  if (command.size() == 1) command = {"/bin/sh", "-c", command[0]};
  Process process;
  const int problem = SpawnPlan(launch).run(process.pid, command, environment_for(launch));
  if (problem != 0)
    return std::unexpected(
        Error(Code::kUnavailable, fmt::format("starting '{}' in '{}': {}", command[0], launch.cwd,
                                              std::strerror(problem)))
            .with_remedy("See that the program and its directory (cwd) exist on this machine."));
  await_mark(process.pid);
  if (const auto stat = stat_of(process.pid)) process.start_time = stat->start_time;
  return process;
}

bool is_alive(const Process& process) {
  if (process.pid == 0) return false;
  siginfo_t info = {};
  if (::waitid(P_PID, process.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
    if (info.si_pid == 0) return true;
    ::kill(-process.pid, SIGKILL);  // before reaping: until then the number is taken
    ::waitpid(process.pid, nullptr, 0);
    return false;
  }
  const auto stat = stat_of(process.pid);  // not our child: adopted
  return !is_dead(stat) && stat->start_time == process.start_time;
}

void signal_group(const Process& process, int signal) {
  const auto stat = stat_of(process.pid);
  if (process.pid != 0 && stat && stat->start_time == process.start_time)
    ::kill(-process.pid, signal);
}

void kill_marked(const std::string& mark) {
  for (const int pid : pids_with(mark)) ::kill(pid, SIGKILL);
}

std::optional<Process> find_marked(const std::string& mark) {
  for (const int pid : pids_with(mark)) {
    const auto stat = stat_of(pid);
    if (!is_dead(stat) && stat->session == pid)
      return Process{.pid = pid, .start_time = stat->start_time};
  }
  return std::nullopt;
}

Result<int> free_port(const std::string& host) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
    return failure(Code::kInvalidArgument, "'" + host + "' is not an IPv4 address");
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  socklen_t size = sizeof address;
  const bool bound = ::bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(probe);
  if (bound) return ntohs(address.sin_port);
  return std::unexpected(Error(Code::kUnavailable, "nothing can listen on " + host)
                             .with_remedy("Give the zone an address_base of this machine."));
}

// Instances hold the file open for appending: it is copied and emptied rather than renamed.
void rotate_log(const std::string& path, std::uint64_t bytes_max) {
  std::error_code problem;
  if (std::filesystem::file_size(path, problem) <= bytes_max || problem) return;
  std::filesystem::copy_file(path, path + ".1", std::filesystem::copy_options::overwrite_existing,
                             problem);
  std::filesystem::resize_file(path, 0, problem);
}

}  // namespace banyan::fleet
