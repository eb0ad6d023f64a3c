#include "planes/gateway/backend.h"

#include <algorithm>

namespace banyan::gateway {

void Backend::adopt(const BackendPlan& plan, std::vector<Endpoint*> endpoints,
                    std::size_t workers) {
  traffic_ = plan.traffic;
  endpoints_ = std::move(endpoints);
  hashes_ = traffic_.balance == "hash";
  measures_ = traffic_.balance == "peak_ewma";
  const auto is_heavier = [](const EndpointPlan& one) { return one.weight != 1; };
  weighted_ = measures_ || traffic_.slow_start > spec::Millis::zero() ||
              std::ranges::any_of(plan.endpoints, is_heavier);
  const auto share = static_cast<std::int64_t>(workers);
  places.set_limits((traffic_.limits.requests + share - 1) / share,
                    (traffic_.limits.pending + share - 1) / share);
}

bool Backend::is_unused() const {
  return endpoints_.empty() && places.inside() == 0 && places.waiting() == 0 && retries.out() == 0;
}

bool Backend::may_eject(Mono now) const {
  const auto out = std::ranges::count_if(
      endpoints_, [&](const Endpoint* endpoint) { return endpoint->is_ejected(now); });
  return out < ejections_max(traffic_.eject, static_cast<int>(endpoints_.size()));
}

void Backend::look(std::span<Endpoint* const> tried, Mono now) {
  loads_.clear();
  for (Endpoint* endpoint : endpoints_) {
    EndpointLoad& load = loads_.emplace_back(endpoint->load);
    load.healthy = endpoint->is_usable();
    load.tried = std::ranges::find(tried, endpoint) != tried.end();
    if (!weighted_) continue;
    load.weight = endpoint->weight(traffic_.slow_start, now);
    if (measures_) load.cost = endpoint->cost(now);
  }
}

Endpoint* Backend::pick(std::span<Endpoint* const> tried, std::uint64_t key, http::IdSource& ids,
                        Mono now) {
  look(tried, now);
  const BalanceRules rules{.panic_percent = traffic_.panic_percent,
                           .weighted = weighted_,
                           .key = key,
                           .bound_percent = traffic_.hash_bound_percent};
  const std::optional<std::size_t> picked = pick_endpoint(loads_, rules, ids);
  return picked ? endpoints_[*picked] : nullptr;
}

bool Backend::can_serve() const {
  return std::ranges::any_of(endpoints_, [](const Endpoint* endpoint) {
    return endpoint->is_usable() && !endpoint->load.draining;
  });
}

bool Backend::in_panic(Mono now) {
  look({}, now);
  return gateway::in_panic(loads_, traffic_.panic_percent);
}

}  // namespace banyan::gateway
