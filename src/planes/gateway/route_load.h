#pragma once
// RouteLoad: what one worker counts for a route that limits its requests: who is inside, and how
// many may be, given or found from the response times.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "planes/gateway/gradient_limit.h"
#include "planes/gateway/place_queue.h"
#include "spec/traffic.h"

namespace banyan::gateway {

class RouteLoad {
 public:
  // Limits of the whole gateway are divided by `workers`, rounded up.
  void adopt(const spec::RouteLimits& limits, std::size_t workers) {
    const auto share = static_cast<std::int64_t>(workers);
    most_ = (limits.requests + share - 1) / share;
    adaptive_ = limits.adaptive;
    apply();
  }
  void note_answer(Duration took) {
    if (!adaptive_) return;
    gradient_.observe(took, places.inside());
    apply();
  }

  PlaceQueue places;  // nobody waits

 private:
  void apply() {
    const std::int64_t found = adaptive_ ? gradient_.limit() : most_;
    places.set_limits(most_ == 0 ? found : std::min(most_, found), 0);
  }

  std::int64_t most_ = 0;
  bool adaptive_ = false;
  GradientLimit gradient_;
};

}  // namespace banyan::gateway
