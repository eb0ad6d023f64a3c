#pragma once
// PeakEwma: how long one endpoint takes to answer, as a cost. Rises at once with a slow answer,
// falls slowly (an average with a decay of 10 s) when answers are fast. An endpoint that has not
// answered yet costs as much as the first sample of 1 s decayed. Pure.

#include "base/clock.h"

namespace banyan::gateway {

class PeakEwma {
 public:
  static constexpr Duration kDecay = 10s;
  static constexpr Duration kSeed = 1s;
  static constexpr Duration kFloor = 1ms;
  static constexpr Duration kPenalty = 5s;       // of a failure that says nothing more
  static constexpr Duration kPenaltyMax = 300s;  // of one with Retry-After

  explicit PeakEwma(Mono now) : at_(now) {}
  void observe(Duration took, Mono now);
  // 429, 503 and other 5xx; `retry_after` zero when it was not said.
  void observe_failure(Duration took, Duration retry_after, Mono now);
  // In seconds, never below the floor.
  double cost(Mono now) const;

 private:
  double decayed(Mono now) const;

  double seconds_ = std::chrono::duration<double>(kSeed).count();
  Mono at_;
};

}  // namespace banyan::gateway
