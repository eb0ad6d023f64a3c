#include "planes/gateway/peak_ewma.h"

#include <algorithm>
#include <cmath>

namespace banyan::gateway {
namespace {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double kept(Duration elapsed) {
  return std::exp(-seconds(elapsed) / seconds(PeakEwma::kDecay));
}

}  // namespace

double PeakEwma::decayed(Mono now) const {
  return seconds_ * kept(now - at_);
}

void PeakEwma::observe(Duration took, Mono now) {
  const double sample = seconds(took);
  const double share = kept(now - at_);
  seconds_ = sample > decayed(now) ? sample : seconds_ * share + sample * (1 - share);
  at_ = now;
}

void PeakEwma::observe_failure(Duration took, Duration retry_after, Mono now) {
  const Duration penalty = retry_after > Duration::zero()
                               ? std::min<Duration>(retry_after, kPenaltyMax)
                               : Duration(kPenalty);
  observe(std::max(took, penalty), now);
}

double PeakEwma::cost(Mono now) const {
  return std::max(decayed(now), seconds(kFloor));
}

}  // namespace banyan::gateway
