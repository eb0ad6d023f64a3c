#pragma once
// TransferRate: bytes per second, smoothed over the last measurements. Thread-safe.

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "base/guarded.h"

namespace banyan::files {

class TransferRate {
 public:
  // `bytes` since the beginning; more often than twice a second it is not looked at.
  void measure(Mono now, std::int64_t bytes) {
    state_.with([&](State& state) {
      const bool is_first = state.at == Mono{};
      const double seconds = std::chrono::duration<double>(now - state.at).count();
      if (!is_first && seconds < 0.5) return;
      const double current = is_first ? 0 : static_cast<double>(bytes - state.bytes) / seconds;
      const double before = state.per_second;
      state = {.at = now, .bytes = bytes, .per_second = smoothed(before, current)};
    });
  }
  double bytes_per_s() const {
    return state_.with([](const State& state) { return state.per_second; });
  }

 private:
  struct State {
    Mono at{};
    std::int64_t bytes = 0;
    double per_second = 0;
  };
  static double smoothed(double before, double current) {
    return before == 0 ? current : 0.7 * before + 0.3 * current;
  }
  Guarded<State> state_;
};

}  // namespace banyan::files
