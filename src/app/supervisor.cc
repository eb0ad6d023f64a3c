#include "app/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <ranges>

#include "base/clock.h"
#include "base/log.h"

namespace banyan {
namespace {

constexpr Duration kFirstBackoff = 100ms;
constexpr Duration kLongestBackoff = 5s;
constexpr Duration kSteadyAfter = 30s;
constexpr Duration kStopGrace = 45s;  // a gateway drains for up to 30 s

std::string lock_path(const control::Layout& layout) {
  return layout.state_dir() + "/up.lock";
}

std::vector<char*> argv_of(const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>("banyan")};  // NOLINT: execv's signature
  for (const std::string& arg : arguments)
    argv.push_back(const_cast<char*>(arg.c_str()));  // NOLINT
  argv.push_back(nullptr);
  return argv;
}

// Only async-signal-safe calls between fork and exec.
[[noreturn]] void become(const char* program, const std::vector<char*>& argv, int log,
                         pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setpgid(0, 0);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execv(program, argv.data());
  ::_exit(127);
}

}  // namespace

struct Supervisor::Child {
  const RoleCommand* role = nullptr;
  std::string program = "/proc/self/exe";  // what runs, whatever happens to the file
  std::vector<std::string> argv = {};
  pid_t pid = 0;
  bool is_succeeded = false;
  Mono started{};
  Mono next_start{};
  Duration backoff = kFirstBackoff;
};

Result<void> Supervisor::take_lock() {
  lock_ = ::open(lock_path(layout_).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) return failure(Code::kPermission, "cannot open " + lock_path(layout_));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
    return std::unexpected(Error(Code::kConflict, "banyan is up already for " + layout_.spec_file())
                               .with_remedy("banyan status"));
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock_, 0) != 0 || ::pwrite(lock_, pid.data(), pid.size(), 0) < 0)
    return failure(Code::kUnavailable, "cannot write " + lock_path(layout_));
  return {};
}

void Supervisor::start(Child& child) {
  const std::string log_file = layout_.log(child.role->name);
  const int log = ::open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const auto argv = argv_of(child.argv);
  const pid_t parent = ::getpid();
  child.pid = ::fork();
  if (child.pid == 0) become(child.program.c_str(), argv, log, parent);
  ::close(log);
  child.started = SystemClock().now();
  log_info("role started", {{"name", child.role->name}, {"pid", child.pid}});
}

std::string Supervisor::program_on_disk() {
  constexpr std::string_view kDeleted = " (deleted)";
  std::error_code error;
  std::string path = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

void Supervisor::reap(std::vector<Child>& children) {
  for (Child& child : children)
    if (child.pid > 0 && !child.role->socket.empty() &&
        ::access(fmt::format("{}.{}", child.role->socket, child.pid).c_str(), F_OK) == 0)
      child.is_succeeded = true;
  const Mono now = SystemClock().now();
  for (Child& child : children) {
    int status = 0;
    const bool is_replaced = std::ranges::any_of(children, [&](const Child& other) {
      return &other != &child && other.role == child.role && other.pid > 0 && !other.is_succeeded;
    });
    if (child.pid > 0 && ::waitpid(child.pid, &status, WNOHANG) == child.pid)
      note_end(child, status, is_replaced);
    if (child.pid == 0 && now >= child.next_start) start(child);
  }
  std::erase_if(children, [](const Child& child) { return child.pid < 0; });
}

// A process whose place another one has is not started again.
void Supervisor::note_end(Child& child, int status, bool is_replaced) {
  log_warn("role ended",
           {{"name", child.role->name}, {"status", status}, {"replaced", is_replaced}});
  const Mono now = SystemClock().now();
  child.backoff = now - child.started > kSteadyAfter ? kFirstBackoff : child.backoff;
  child.next_start = now + child.backoff;
  child.backoff = std::min(child.backoff * 2, kLongestBackoff);
  child.pid = is_replaced ? -1 : 0;
  child.argv = child.role->argv;
}

void Supervisor::upgrade(std::vector<Child>& children) {
  for (const RoleCommand& role : roles_) {
    if (role.socket.empty()) continue;
    Child successor{.role = &role, .program = program_, .argv = role.argv};
    successor.argv.emplace_back("--take-over");
    start(successor);
    children.push_back(std::move(successor));
  }
}

void Supervisor::stop_all(std::vector<Child>& children) {
  for (Child& child : children | std::views::reverse) {
    if (child.pid <= 0) continue;
    ::kill(child.pid, SIGTERM);
    const Mono deadline = SystemClock().now() + kStopGrace;
    while (::waitpid(child.pid, nullptr, WNOHANG) == 0) {
      if (SystemClock().now() > deadline) ::kill(child.pid, SIGKILL);
      ::usleep(20'000);
    }
  }
}

Result<void> Supervisor::run() {
  TRY_VOID(take_lock());
  sigset_t stop;
  sigemptyset(&stop);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGUSR2}) sigaddset(&stop, signal);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
  std::vector<Child> children(roles_.size());
  for (std::size_t i = 0; i < roles_.size(); ++i) {
    children[i].role = &roles_[i];
    children[i].argv = roles_[i].argv;
    start(children[i]);
  }
  const timespec pause{.tv_sec = 0, .tv_nsec = 50'000'000};
  while (true) {
    const int signal = sigtimedwait(&stop, nullptr, &pause);
    if (signal == SIGTERM || signal == SIGINT) break;
    if (signal == SIGUSR2) upgrade(children);
    reap(children);
  }
  stop_all(children);
  ::unlink(lock_path(layout_).c_str());
  return {};
}

void request_upgrade(int supervisor) {
  ::kill(supervisor, SIGUSR2);
}

int running_supervisor(const control::Layout& layout) {
  const int fd = ::open(lock_path(layout).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const bool held = ::flock(fd, LOCK_SH | LOCK_NB) != 0;
  std::array<char, 16> text{};
  const bool read = ::pread(fd, text.data(), text.size() - 1, 0) > 0;
  ::close(fd);
  return held && read ? std::atoi(text.data()) : 0;  // NOLINT(cert-err34-c): our own file
}

}  // namespace banyan
