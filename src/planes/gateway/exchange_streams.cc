// Exchange, the part that concerns endless answers: where they would lead by now, and leaving.

#include <algorithm>

#include "planes/gateway/exchange.h"

namespace banyan::gateway {

void Exchange::on_stream() {
  pass_.become_stream();
  is_stream_ = true;
  worker_.rehoming().enlist(*this);
}

// Some request like this one, by the routing in force, may be sent to the endpoint it is at.
bool Exchange::leads_to(const Routing& routing, const RoutePlan& plan) const {
  const auto has_address = [&](std::size_t backend) {
    return backend != kNoBackend &&
           std::ranges::any_of(routing.backends[backend].endpoints, [&](const EndpointPlan& known) {
             return known.address == upstream_address_;
           });
  };
  return has_address(plan.backend) || has_address(plan.fallback) ||
         std::ranges::any_of(plan.targets, has_address);
}

bool Exchange::is_at_home() {
  if (upstream_ != nullptr && upstream_->endpoint().load.draining) return false;
  const Routing& routing = *worker_.routing();
  const Route* const route = routing.table.match(facts(routing.table.has_conditions()));
  return route != nullptr && leads_to(routing, routing.plans[route->index]);
}

void Exchange::leave(int close_code) {
  reason_ = "the stream was ended so that its client connects to where the route leads now";
  if (attempt_ != nullptr) attempt_->leave(close_code);
}

}  // namespace banyan::gateway
