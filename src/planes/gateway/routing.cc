#include "planes/gateway/routing.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/gateway/rewrite.h"

namespace banyan::gateway {
namespace {

std::string host_of(const std::string& address) {
  return std::string(host_without_port(address));
}

io::Verify verify_of(const std::string& name) {
  if (name == "none") return io::Verify::kNothing;
  return name == "ca" ? io::Verify::kAuthority : io::Verify::kAuthorityAndName;
}

// Null for a backend without TLS. Instances of one backend share it unless their names differ.
Result<std::shared_ptr<const io::TlsClient>> plan_tls(const spec::Traffic& traffic,
                                                      const std::string& address) {
  if (!traffic.uses_tls()) return std::shared_ptr<const io::TlsClient>{};
  const spec::UpstreamTls tls = traffic.tls.value_or(spec::UpstreamTls{});
  TRY(auto client, io::TlsClient::create(
                       {.ca = tls.ca,
                        .server_name = tls.server_name.empty() ? host_of(address) : tls.server_name,
                        .http2 = traffic.speaks_http2(),
                        .verify = verify_of(tls.verify),
                        .own = {.certificate = tls.certificate, .key = tls.key}}));
  return std::shared_ptr<const io::TlsClient>(std::move(client));
}

Result<std::shared_ptr<const ListenerPlan>> plan_listener(const std::string& name,
                                                          const RouteSnapshot& snapshot,
                                                          const Routing::TlsSource& tls) {
  auto plan = std::make_shared<ListenerPlan>();
  plan->name = name;
  if (const auto found = snapshot.listeners.find(name); found != snapshot.listeners.end())
    plan->spec = found->second;
  if (plan->spec.tls) {
    TRY(plan->tls, with_context(tls(*plan->spec.tls), fmt::format("listener {}", name)));
  }
  if (plan->spec.hsts_s != 0)
    plan->hsts = fmt::format("strict-transport-security: max-age={}\r\n", plan->spec.hsts_s);
  return std::shared_ptr<const ListenerPlan>(std::move(plan));
}

Result<BackendPlan> plan_backend(const std::string& name, const BackendSpec& spec,
                                 const RouteSnapshot& snapshot) {
  BackendPlan plan{.name = name,
                   .endpoints = {},
                   .health = spec.health,
                   .health_host = {},
                   .traffic = spec.traffic};
  if (plan.health) {
    plan.health->kind = spec::check_kind(*spec.health, spec.traffic);
    plan.health_host = spec.health->host.value_or(snapshot.public_host.value_or(""));
  }
  for (const EndpointSpec& endpoint : spec.endpoints) {
    TRY(io::Address resolved,
        with_context(io::Address::resolve(endpoint.address), fmt::format("backend {}", name)));
    TRY(auto tls,
        with_context(plan_tls(spec.traffic, endpoint.address), fmt::format("backend {}", name)));
    plan.endpoints.push_back({.address = endpoint.address,
                              .zone = endpoint.zone,
                              .local = snapshot.zone && endpoint.zone == *snapshot.zone,
                              .weight = endpoint.weight,
                              .backup = endpoint.backup,
                              .resolved = resolved,
                              .http2 = spec.traffic.speaks_http2(),
                              .tls = std::move(tls)});
  }
  return plan;
}

std::size_t index_of(const std::vector<BackendPlan>& backends, const std::string& name) {
  // Ordered, as the map they come from.
  const auto found = std::ranges::lower_bound(backends, name, {}, &BackendPlan::name);
  return static_cast<std::size_t>(found - backends.begin());
}

RetryReasons reasons_of(const std::vector<std::string>& on) {
  RetryReasons reasons;
  for (const std::string& text : on) {
    reasons.connect |= text == "connect";
    reasons.reset |= text == "reset";
    reasons.timeout |= text == "timeout";
    if (const auto range = spec::parse_status_range(text)) reasons.statuses.push_back(*range);
  }
  return reasons;
}

RoutePlan plan_route(const std::vector<BackendPlan>& backends, const RouteSpec& spec) {
  RoutePlan plan;
  plan.edits_request = edits_request(spec);
  plan.retry = reasons_of(spec.rules.retry.on);
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

Result<std::shared_ptr<const Routing>> Routing::create(RouteSnapshot snapshot,
                                                       const TlsSource& tls) {
  RouteTable table(snapshot.routes);
  auto routing =
      std::make_shared<Routing>(Routing{std::move(snapshot), std::move(table), {}, {}, {}, {}});
  for (const auto& [name, spec] : routing->snapshot.backends) {
    TRY(BackendPlan plan, plan_backend(name, spec, routing->snapshot));
    routing->backends.push_back(std::move(plan));
  }
  for (const Route& route : routing->table.routes())
    routing->plans.push_back(plan_route(routing->backends, route.spec));
  for (const std::string& address : routing->snapshot.listen) {
    TRY(io::Address resolved, with_context(io::Address::resolve(address), "listen"));
    routing->listen.push_back(resolved);
    TRY(auto listener, plan_listener(address, routing->snapshot, tls));
    routing->listeners.push_back(std::move(listener));
  }
  return std::shared_ptr<const Routing>(std::move(routing));
}

std::shared_ptr<const ListenerPlan> Routing::listener(const std::string& name) const {
  const auto found =
      std::ranges::find_if(listeners, [&](const auto& plan) { return plan->name == name; });
  return found == listeners.end() ? nullptr : *found;
}

}  // namespace banyan::gateway
