#pragma once
// MinRate: how much longer a sender may be waited for, that has to keep up a rate after a grace.
// Only the time waited for it counts, not the time its data waits for others. Pure.

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace banyan::gateway {

class MinRate {
 public:
  // No limit with 0 bytes per second.
  MinRate(std::int64_t bytes_per_second, Duration grace) : rate_(bytes_per_second), grace_(grace) {}

  void waited(Duration duration) { waited_ += duration; }
  // Never more than `most`; zero when it is too slow already.
  Duration allowance(std::uint64_t bytes_so_far, Duration most) const {
    if (rate_ <= 0) return most;
    const double earned = static_cast<double>(bytes_so_far) / static_cast<double>(rate_);
    const Duration left =
        grace_ - waited_ +
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(earned, 1e6)));
    return std::clamp(left, Duration::zero(), most);
  }

 private:
  std::int64_t rate_;
  Duration grace_;
  Duration waited_{};
};

}  // namespace banyan::gateway
