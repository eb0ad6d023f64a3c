#include "planes/gateway/gradient_limit.h"

#include <algorithm>
#include <cmath>

namespace banyan::gateway {

void GradientLimit::observe(Duration took, std::int64_t inside) {
  const double now = std::max(std::chrono::duration<double>(took).count(), 1e-6);
  long_ = long_ == 0 ? now : long_ + (now - long_) / kLongWindow;
  // After a long slow time the average comes back quickly.
  if (long_ > 2 * now) long_ *= 0.95;
  // Far from the limit the samples say nothing about it.
  if (static_cast<double>(inside) < limit_ / 2) return;
  const double gradient = std::clamp(kTolerance * long_ / now, 0.5, 1.0);
  const double room = std::sqrt(limit_);
  const double wanted = limit_ * gradient + room;
  limit_ = std::clamp(limit_ * (1 - kSmoothing) + wanted * kSmoothing, kMin, kMax);
}

}  // namespace banyan::gateway
