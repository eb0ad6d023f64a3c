#pragma once
// Guarded<T>: a value and its lock in one type, so that neither is used without the other.
//   Guarded<State> state;   state.with([](State& s) { s.count++; });
// `wait` blocks until `ready(T&)` holds, `notify` wakes waiters after a change. Any thread.

#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/clock.h"

namespace banyan {

template <class T>
class Guarded {
 public:
  template <class... Args>
  explicit Guarded(Args&&... args) : value_(std::forward<Args>(args)...) {}

  template <class Fn>
  auto with(Fn&& fn) {
    const std::lock_guard lock(mutex_);
    return std::forward<Fn>(fn)(value_);
  }
  template <class Fn>
  auto with(Fn&& fn) const {
    const std::lock_guard lock(mutex_);
    return std::forward<Fn>(fn)(value_);
  }
  // Changes the value, then wakes everybody who waits for it.
  template <class Fn>
  void change(Fn&& fn) {
    {
      const std::lock_guard lock(mutex_);
      std::forward<Fn>(fn)(value_);
    }
    changed_.notify_all();
  }
  // False when `timeout` passed before `ready(value)` became true.
  template <class Ready>
  bool wait_for(Duration timeout, Ready&& ready) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return ready(value_); });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  T value_;
};

}  // namespace banyan
