#pragma once
// Supervisor: what `banyan up` is. It starts the roles as children, restarts one that dies
// (back-off 100 ms doubling to 5 s, reset after 30 s of running), and stops them all in reverse
// order. Children are told by the kernel when the supervisor dies, so kill -9 of it leaves no roles
// behind; instances of services belong to the agent and survive. One supervisor per state folder
// (lock on up.lock).
//
// SIGUSR2 upgrades the gateway: a second process of it is started from the program now on disk,
// told to take over. The first is then left alone until its last connection has ended; when the
// second one fails instead, nothing has changed.

#include <string>
#include <vector>

#include "base/error.h"
#include "control/layout.h"

namespace banyan {

struct RoleCommand {
  std::string name;               // "gateway", "objects-documents"
  std::vector<std::string> argv;  // without the program
  // A role that can be taken over has one: who was succeeded answers at "<socket>.<pid>".
  std::string socket = {};
};

class Supervisor {
 public:
  Supervisor(const control::Layout& layout, std::vector<RoleCommand> roles)
      : layout_(layout), roles_(std::move(roles)), program_(program_on_disk()) {}

  // Runs until SIGTERM or SIGINT; an Error when another supervisor runs for the same folder.
  Result<void> run();

 private:
  struct Child;
  Result<void> take_lock();
  static std::string program_on_disk();
  void start(Child& child);
  void reap(std::vector<Child>& children);
  void note_end(Child& child, int status, bool is_replaced);
  void upgrade(std::vector<Child>& children);
  void stop_all(std::vector<Child>& children);

  const control::Layout& layout_;
  std::vector<RoleCommand> roles_;
  std::string program_;  // may be another one by now than the one that runs
  int lock_ = -1;
};

// Asks the supervisor for it; how it went is seen at the gateway.
void request_upgrade(int supervisor);

// Pid of the supervisor that runs for the folder; 0 when none does.
int running_supervisor(const control::Layout& layout);

}  // namespace banyan
