// Exchange, the part that concerns endless answers: where they would lead by now, and leaving.

#include <algorithm>

#include "planes/gateway/exchange.h"

namespace banyan::gateway {

void Exchange::enlist() {
  enlisted_ = true;
  worker_.rehoming().enlist(*this);
}

void Exchange::on_stream() {
  pass_.become_stream();
  enlist();
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
  if (routing_ == worker_.routing()) return true;
  const Routing& routing = *worker_.routing();
  const Route* const route = routing.table.match(facts(routing.table.has_conditions()));
  return route != nullptr && leads_to(routing, routing.plans[route->index]);
}

bool Exchange::leave(int close_code) {
  if (attempt_ == nullptr || !attempt_->leave(close_code)) return false;
  reason_ = "the stream was ended so that its client connects to where the route leads now";
  return true;
}

void Exchange::settle() {
  GrpcCall* const call = attempt_ != nullptr ? attempt_->grpc_call() : nullptr;
  if (call == nullptr || !pass_.is_held() || !call->is_stream()) return;
  call->keep_silent();
  if (call->is_quiet()) pass_.become_stream();
}

void Exchange::carry_on() {
  GrpcCall* const call = attempt_ != nullptr ? attempt_->grpc_call() : nullptr;
  if (call == nullptr) return;
  if (worker_.rehoming().may_stay(*this)) {
    call->carry_on();
    pass_.become_request();
  } else if (call->has_waiting_message()) {
    worker_.rehoming().hurry(*this);
  }
}

void Exchange::on_waiting_message() {
  if (worker_.hold().phase() == Phase::kOpen) worker_.rehoming().hurry(*this);
}

}  // namespace banyan::gateway
