#pragma once
// Clock: where code that decides by time gets it from, so that tests can move it.
//
// `Mono` never jumps and measures waits; `Wall` is what people and other machines call the time.
// SystemClock is thread-safe; SimClock may be advanced and read from any thread.

#include <atomic>
#include <chrono>
#include <string>

namespace banyan {

using Duration = std::chrono::nanoseconds;
using Mono = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using Wall = std::chrono::time_point<std::chrono::system_clock, Duration>;
using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Mono now() const = 0;
  virtual Wall wall() const = 0;
};

class SystemClock final : public Clock {
 public:
  Mono now() const override { return std::chrono::steady_clock::now(); }
  Wall wall() const override { return std::chrono::system_clock::now(); }
};

class SimClock final : public Clock {
 public:
  Mono now() const override { return Mono(Duration(ns_.load())); }
  Wall wall() const override { return Wall(Duration(kWallStart + ns_.load())); }
  void advance(Duration by) { ns_ += by.count(); }

 private:
  static constexpr long kWallStart = 1'700'000'000'000'000'000;
  std::atomic<long> ns_{1'000'000'000};
};

// "2026-11-20T21:30:00.123Z" (RFC 3339, UTC, milliseconds).
std::string rfc3339(Wall time);
// Whole milliseconds of a duration, for JSON and logs.
inline long to_ms(Duration duration) {
  return static_cast<long>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

}  // namespace banyan
