#pragma once
// GradientLimit: how many requests a route lets in at once, found from its response times: while
// they are near their long average the limit grows, when they rise above it the limit shrinks in
// proportion. Pure; a sample per answer.

#include <cstdint>

#include "base/clock.h"

namespace banyan::gateway {

class GradientLimit {
 public:
  static constexpr double kInitial = 20;
  static constexpr double kMin = 4;
  static constexpr double kMax = 1000;
  static constexpr double kTolerance = 1.5;   // of the long average, before it shrinks
  static constexpr double kSmoothing = 0.2;   // of each step
  static constexpr double kLongWindow = 600;  // samples

  // `inside`: how many there were when the answer came.
  void observe(Duration took, std::int64_t inside);
  std::int64_t limit() const { return static_cast<std::int64_t>(limit_); }

 private:
  double limit_ = kInitial;
  double long_ = 0;  // seconds; 0: no sample yet
};

}  // namespace banyan::gateway
