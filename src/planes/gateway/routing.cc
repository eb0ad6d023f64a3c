#include "planes/gateway/routing.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/gateway/rewrite.h"

namespace banyan::gateway {
namespace {

Result<BackendPlan> plan_backend(const std::string& name, const BackendSpec& spec,
                                 const RouteSnapshot& snapshot) {
  BackendPlan plan{.name = name,
                   .endpoints = {},
                   .health = spec.health,
                   .health_host = {},
                   .traffic = spec.traffic};
  if (spec.health)
    plan.health_host =
        spec.health->host.empty() ? snapshot.public_host.value_or("") : spec.health->host;
  for (const EndpointSpec& endpoint : spec.endpoints) {
    TRY(io::Address resolved,
        with_context(io::Address::resolve(endpoint.address), fmt::format("backend {}", name)));
    plan.endpoints.push_back({.address = endpoint.address,
                              .zone = endpoint.zone,
                              .local = snapshot.zone && endpoint.zone == *snapshot.zone,
                              .weight = endpoint.weight,
                              .backup = endpoint.backup,
                              .resolved = resolved});
  }
  return plan;
}

std::size_t index_of(const std::vector<BackendPlan>& backends, const std::string& name) {
  // Ordered, as the map they come from.
  const auto found = std::ranges::lower_bound(backends, name, {}, &BackendPlan::name);
  return static_cast<std::size_t>(found - backends.begin());
}

RoutePlan plan_route(const std::vector<BackendPlan>& backends, const RouteSpec& spec) {
  RoutePlan plan;
  plan.edits_request = edits_request(spec);
  plan.edits_response = edits_response(spec);
  for (const spec::Weight& weight : spec.rules.weights)
    plan.targets.push_back(index_of(backends, weight.to));
  if (!plan.targets.empty()) plan.backend = plan.targets.front();
  if (!spec.to.empty()) plan.backend = index_of(backends, spec.to);
  if (spec.rules.fallback && spec.rules.fallback->to)
    plan.fallback = index_of(backends, *spec.rules.fallback->to);
  const bool hashes =
      plan.backend != kNoBackend && backends[plan.backend].traffic.balance == "hash";
  plan.needs_facts = spec.rules.sticky.has_value() || hashes || spec.rules.limits.rate.has_value();
  return plan;
}

}  // namespace

Result<std::shared_ptr<const Routing>> Routing::create(RouteSnapshot snapshot) {
  RouteTable table(snapshot.routes);
  auto routing =
      std::make_shared<Routing>(Routing{std::move(snapshot), std::move(table), {}, {}, {}});
  for (const auto& [name, spec] : routing->snapshot.backends) {
    TRY(BackendPlan plan, plan_backend(name, spec, routing->snapshot));
    routing->backends.push_back(std::move(plan));
  }
  for (const Route& route : routing->table.routes())
    routing->plans.push_back(plan_route(routing->backends, route.spec));
  for (const std::string& address : routing->snapshot.listen) {
    TRY(io::Address resolved, with_context(io::Address::resolve(address), "listen"));
    routing->listen.push_back(resolved);
  }
  return std::shared_ptr<const Routing>(std::move(routing));
}

}  // namespace banyan::gateway
