#pragma once
// Event: one coroutine waits until another one, on the same loop, sets it.
// `co_await event.wait(deadline)` is true when it was set, false when the deadline passed first.
// It stays set until `reset`. At most one waiter. The waiter is resumed by the loop, not by `set`.

#include <coroutine>

#include "base/check.h"
#include "io/loop.h"

namespace banyan::io {

class Event final : private Timer {
 public:
  explicit Event(Loop& loop) : Timer(loop), loop_(loop) {}

  bool is_set() const { return set_; }
  void reset() { set_ = false; }
  void set() {
    set_ = true;
    disarm();
    if (waiter_) loop_.schedule(std::exchange(waiter_, {}));
  }

  struct Wait {
    Event& event;
    Mono deadline;
    bool await_ready() const noexcept { return event.set_; }
    void await_suspend(std::coroutine_handle<> handle) {
      CHECK(!event.waiter_);
      event.waiter_ = handle;
      event.arm(deadline);
    }
    bool await_resume() const noexcept { return event.set_; }
  };
  Wait wait(Mono deadline = kNever) { return {*this, deadline}; }

 private:
  void on_expired() override {
    if (waiter_) std::exchange(waiter_, {}).resume();
  }

  Loop& loop_;
  bool set_ = false;
  std::coroutine_handle<> waiter_;
};

}  // namespace banyan::io
