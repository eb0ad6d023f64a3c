#pragma once
// Loop: one thread's edge-triggered epoll, its timers, and the work other threads hand to it.
//
// Everything except `post` and `stop` belongs to the thread inside `run`. A descriptor is
// registered once, for all events. A loop that is destroyed destroys no coroutine: stop what runs
// on it first.

#include <sys/epoll.h>

#include <array>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"

namespace banyan::io {

constexpr Mono kNever = Mono::max();

// Something with a descriptor: told of every edge. It may destroy itself inside `on_ready`.
class Pollable {
 public:
  virtual void on_ready(std::uint32_t events) = 0;

 protected:
  ~Pollable() = default;
};

class Loop;

// A deadline that can be moved cheaply: moving it later costs nothing until the old time comes.
// `on_expired` runs on the loop's thread, and may destroy the timer's owner.
class Timer {
 public:
  explicit Timer(Loop& loop) : loop_(loop) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(Mono at);
  void disarm() { wanted_ = kNever; }

 protected:
  ~Timer();
  virtual void on_expired() = 0;

 private:
  friend class Loop;
  static constexpr std::size_t kNotQueued = ~std::size_t{0};

  Loop& loop_;
  Mono wanted_ = kNever;
  Mono queued_ = kNever;  // its place in the heap, at most `wanted_` while armed
  std::size_t index_ = kNotQueued;
};

class Loop {
  struct Descriptors {
    int epoll;
    int wake;
  };

 public:
  static Result<std::unique_ptr<Loop>> create();
  explicit Loop(Descriptors descriptors);  // `create` only: the parameter is private
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Returns after `stop`.
  void run();
  // Any thread.
  void stop();
  // Any thread: runs `work` on the loop's thread, in the order posted.
  void post(std::move_only_function<void()> work);

  // Resumes `handle` from the loop itself, later in this turn: never from inside the caller.
  void schedule(std::coroutine_handle<> handle) { scheduled_.push_back(handle); }
  // co_await loop.yield(): lets everybody else have a turn.
  struct Yield;
  Yield yield();
  // co_await loop.batch_end(): goes on when every event that epoll reported at once was acted on.
  struct BatchEnd;
  BatchEnd batch_end();
  // Registers or forgets; after `forget` no event of this batch reaches `pollable` any more.
  Result<void> watch(int fd, Pollable& pollable);
  void forget(Pollable& pollable);
  // The same for a descriptor that stays open, here or in another process.
  void unwatch(int fd, Pollable& pollable);

  // The time at the start of this turn.
  Mono now() const { return now_; }
  // One buffer for all receivers of this thread: valid until the coroutine suspends.
  std::span<char> scratch() { return *scratch_; }
  // Where bytes are gathered for one system call: empty between two operations of sockets.
  std::string& outbox() { return outbox_; }

  // co_await loop.sleep_until(at)
  class Sleep;
  Sleep sleep_until(Mono at);

 private:
  static constexpr std::size_t kScratchBytes = 256 * 1024;
  static constexpr std::size_t kBatch = 256;
  using Posted = std::vector<std::move_only_function<void()>>;

  friend class Timer;

  void turn();
  int wait_ms() const;
  void dispatch(int count);
  void drain_wakeups();
  void run_posted();
  void run_scheduled();
  void resume_all(std::vector<std::coroutine_handle<>>& waiting);
  void run_timers();
  void queue(Timer& timer, Mono at);
  void unqueue(Timer& timer);
  void place(std::size_t index, Timer& timer);
  void sift_up(std::size_t index);
  void sift_down(std::size_t index);

  int epoll_fd_;
  int wake_fd_;
  bool running_ = true;
  Mono now_;
  std::array<epoll_event, kBatch> batch_{};
  int batch_next_ = 0;
  int batch_count_ = 0;
  std::vector<Timer*> timers_;  // a binary heap by `queued_`
  std::vector<std::coroutine_handle<>> scheduled_;
  std::vector<std::coroutine_handle<>> resuming_;
  std::vector<std::coroutine_handle<>> at_batch_end_;
  Guarded<Posted> posted_;
  std::unique_ptr<std::array<char, kScratchBytes>> scratch_;
  std::string outbox_;
};

class Loop::Sleep final : private Timer {
 public:
  Sleep(Loop& loop, Mono at) : Timer(loop), loop_now_(loop.now()), at_(at) {}
  bool await_ready() const noexcept { return at_ <= loop_now_; }
  void await_suspend(std::coroutine_handle<> handle) {
    handle_ = handle;
    arm(at_);
  }
  void await_resume() const noexcept {}

 private:
  void on_expired() override { handle_.resume(); }

  Mono loop_now_;
  Mono at_;
  std::coroutine_handle<> handle_;
};

struct Loop::Yield {
  Loop& loop;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) { loop.schedule(handle); }
  void await_resume() const noexcept {}
};

struct Loop::BatchEnd {
  Loop& loop;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) { loop.at_batch_end_.push_back(handle); }
  void await_resume() const noexcept {}
};

inline Loop::Yield Loop::yield() {
  return {*this};
}
inline Loop::BatchEnd Loop::batch_end() {
  return {*this};
}
inline Loop::Sleep Loop::sleep_until(Mono at) {
  return {*this, at};
}

}  // namespace banyan::io
