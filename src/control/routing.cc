#include "control/routing.h"

#include <algorithm>

#include "spec/traffic_fields.h"
#include "spec/traffic_json.h"

namespace banyan::control {

using migration::Side;
using nlohmann::json;

namespace {

json health_json(const spec::Health& health) {
  json out = json::object();
  spec::write(health, out);
  return out;
}

void put_traffic(const spec::Traffic& traffic, json& backend) {
  if (traffic != spec::Traffic{}) spec::write(traffic, backend);
}

json source_backend(const spec::Spec& spec) {
  json out = {{"endpoints", {{{"address", spec.source->app.listen}, {"zone", "old"}}}}};
  if (spec.source->app.health) out["health"] = health_json(*spec.source->app.health);
  put_traffic(spec.source->app.traffic, out);
  return out;
}

// An instance takes requests from when it is first started; the gateway's own checks decide whether
// it is healthy. Draining and stopped ones are out.
bool may_serve(const json& instance) {
  const std::string state = instance.value("state", "");
  return state == "ready" || state == "unhealthy";
}

json external_endpoints(const spec::Service& service) {
  json out = json::array();
  for (const spec::ServiceEndpoint& endpoint : service.endpoints)
    out.push_back({{"address", endpoint.address},
                   {"zone", endpoint.zone},
                   {"weight", endpoint.weight},
                   {"backup", endpoint.backup}});
  return out;
}

json endpoints_of(const std::string& service, const json& fleet) {
  json out = json::array();
  for (const json& running : fleet.value("services", json::array())) {
    if (running.value("name", "") != service) continue;
    for (const json& instance : running.value("instances", json::array()))
      if (may_serve(instance))
        out.push_back({{"address", instance.at("address")}, {"zone", instance.value("zone", "")}});
  }
  std::sort(out.begin(), out.end(), [](const json& a, const json& b) {
    return a.at("address").get<std::string>() < b.at("address").get<std::string>();
  });
  return out;
}

Side side_of(const spec::Spec& spec, const Sides& sides, const std::string& route) {
  for (const auto& [name, migration] : spec.migrations)
    if (std::ranges::find(migration.routes, route) != migration.routes.end()) {
      const auto side = sides.find(name);
      return side == sides.end() ? Side::kOld : side->second;
    }
  return Side::kNew;  // no migration moves it: it is where the spec says
}

json route_json(const spec::Spec& spec, const Sides& sides, const spec::Route& route) {
  const bool moved = side_of(spec, sides, route.id) == Side::kNew;
  const std::string& before = route.before_switch.empty() ? route.to : route.before_switch;
  json out = {{"id", route.id},
              {"methods", route.methods},
              {"host", route.host ? json(*route.host) : json(nullptr)},
              {"path", route.path}};
  spec::RouteRules rules = route.rules;
  const std::string to = moved ? route.to : before;
  if (!to.empty()) {  // on the old side one backend serves all
    rules.weights.clear();
    rules.sticky.reset();
    out["to"] = to;
  }
  spec::write(rules, out);
  return out;
}

json or_empty(const std::optional<std::string>& text) {
  return text.value_or("");
}

json listeners_json(const spec::Gateway& gateway) {
  json out = json::object();
  for (const auto& [address, listener] : gateway.listeners) {
    json& item = out[address] = {{"redirect_https_port", listener.redirect_https_port},
                                 {"hsts_s", listener.hsts_s}};
    if (!listener.tls) continue;
    json certificates = json::array();
    for (const spec::Certificate& files : listener.tls->certificates)
      certificates.push_back(
          {{"certificate", files.certificate}, {"key", files.key}, {"ocsp", or_empty(files.ocsp)}});
    item["tls"] = {{"certificates", std::move(certificates)},
                   {"client_certificates", listener.tls->client_certificates},
                   {"client_ca", or_empty(listener.tls->client_ca)},
                   {"http2", listener.tls->http2}};
  }
  return out;
}

}  // namespace

json route_snapshot(const spec::Spec& spec, const json& fleet, const Sides& sides,
                    std::int64_t epoch) {
  json backends = json::object();
  if (spec.has_app()) backends["source"] = source_backend(spec);
  for (const auto& [name, service] : spec.services) {
    json& backend = backends[name];
    backend["endpoints"] =
        service.is_external() ? external_endpoints(service) : endpoints_of(name, fleet);
    if (!service.is_external() || service.checked) backend["health"] = health_json(service.health);
    put_traffic(service.traffic, backend);
  }
  json routes = json::array();
  for (const spec::Route& route : spec.routes) routes.push_back(route_json(spec, sides, route));
  const auto& gateway = spec.gateway;
  json out = {{"epoch", epoch},
              {"listen", gateway.listen},
              {"public_host", gateway.public_host ? json(*gateway.public_host) : json(nullptr)},
              {"access_log", gateway.access_log ? json(*gateway.access_log) : json(nullptr)},
              {"backends", std::move(backends)},
              {"routes", std::move(routes)}};
  if (!gateway.access_log_fields.empty()) out["access_log_fields"] = gateway.access_log_fields;
  if (!gateway.listeners.empty()) out["listeners"] = listeners_json(gateway);
  if (gateway.desync != spec::Gateway{}.desync) out["desync"] = gateway.desync;
  if (gateway.zone) out["zone"] = *gateway.zone;
  std::optional<spec::Tracing> tracing = gateway.tracing;
  spec::JsonWriter(out).group({"tracing", ""}, tracing);
  spec::Rehome rehome = gateway.rehome;
  spec::JsonWriter(out).group({"rehome", ""}, rehome);
  if (gateway.limits != spec::Limits{}) spec::write(gateway.limits, out["limits"]);
  if (gateway.limits.shared) {
    spec::SecretPlace redis = spec::place_of(spec, spec.redis.at(gateway.limits.shared->redis).url);
    spec::JsonWriter(out).group({"limits_redis", ""}, redis);
  }
  return out;
}

}  // namespace banyan::control
