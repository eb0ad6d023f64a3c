#include "control/planner.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/routing.h"
#include "wire/pg/connection.h"

namespace banyan::control {

using nlohmann::json;

namespace {

constexpr Duration kRolePatience = 10s;

// FNV-1a, 64 bit: stable over processes and builds, which std::hash is not.
std::string fingerprint(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

json zones_json(const spec::Spec& spec) {
  json zones = json::array();
  for (const spec::Zone& zone : spec.zones)
    zones.push_back({{"name", zone.name}, {"address_base", zone.address_base}});
  return zones;
}

Result<json> service_json(const Project& project, const spec::Spec& spec,
                          const spec::Service& service) {
  TRY(const auto environment, service_environment(project, spec, service));
  // The agent itself asks in plain HTTP/1.1 only; what speaks otherwise has to accept connections.
  const bool is_plain = !service.traffic.speaks_http2() && !service.traffic.uses_tls();
  const bool asks = is_plain && spec::check_kind(service.health, service.traffic) == "http";
  json health = {{"path", asks ? service.health.path : ""}};
  if (service.health.host) health["host"] = *service.health.host;
  if (!service.health.host && spec.gateway.public_host) health["host"] = *spec.gateway.public_host;
  return json{{"name", service.name},
              {"command", service.command},
              {"cwd", service.cwd},
              {"env", environment},
              {"instances", service.instances.min},
              {"min_per_zone", service.instances.min_per_zone},
              {"zones", zones_json(spec)},
              {"health", health},
              {"stop_grace_ms", service.stop_grace.count()}};
}

Result<json> fleet_json(const Project& project, const spec::Spec& spec) {
  json services = json::array();
  for (const auto& [name, service] : spec.services) {
    if (service.is_external()) continue;
    TRY(json one, service_json(project, spec, service));
    services.push_back(std::move(one));
  }
  return json{{"services", services}};
}

struct DatabaseUrl {
  std::string server;  // the same server's maintenance database
  std::string name;
};

// "postgresql://user@host:port/name?..." → its server's "postgres" database, and the name.
Result<DatabaseUrl> split_url(const std::string& url) {
  const auto scheme = url.find("://");
  const auto slash = scheme == std::string::npos ? scheme : url.find('/', scheme + 3);
  if (slash == std::string::npos)
    return failure(Code::kInvalidArgument,
                   "a database URL must look like postgresql://user@host:port/name");
  const auto query = url.find('?', slash);
  const std::string rest = query == std::string::npos ? "" : url.substr(query);
  return DatabaseUrl{url.substr(0, slash) + "/postgres" + rest,
                     url.substr(slash + 1, query - slash - 1)};
}

Result<bool> database_exists(const std::string& url) {
  TRY(const DatabaseUrl parts, split_url(url));
  TRY(auto connection, pg::Connection::open(parts.server, {}));
  TRY(const auto rows, connection.query("SELECT 1 FROM pg_catalog.pg_database WHERE datname = " +
                                        pg::quote_literal(parts.name)));
  return rows.size() > 0;
}

Result<void> create_database(const std::string& url) {
  TRY(const DatabaseUrl parts, split_url(url));
  TRY(auto connection, pg::Connection::open(parts.server, {}));
  return connection.exec("CREATE DATABASE " + pg::quote_ident(parts.name) +
                         " TEMPLATE template0 ENCODING 'UTF8'");
}

Result<void> plan_databases(const spec::Spec& spec, ChangePlan& plan) {
  for (const auto& [name, database] : spec.databases) {
    TRY(const std::string url, spec::resolve(spec, database.url));
    auto exists = with_context(database_exists(url), "databases." + name);
    if (!exists) return std::unexpected(std::move(exists).error());
    if (!*exists)
      plan.steps.push_back({"create database " + name, "it does not exist on its server", "safe",
                            "drop it by hand; Banyan never drops data"});
  }
  return {};
}

Result<void> apply_databases(const spec::Spec& spec) {
  for (const auto& [name, database] : spec.databases) {
    TRY(const std::string url, spec::resolve(spec, database.url));
    TRY(const bool exists, database_exists(url));
    if (!exists) TRY_VOID(with_context(create_database(url), "creating database " + name));
  }
  return {};
}

const json* find_service(const json& fleet, const std::string& name) {
  for (const json& service : fleet.at("services"))
    if (service.value("name", "") == name) return &service;
  return nullptr;
}

void plan_services(const spec::Spec& spec, const json& running, bool changed, ChangePlan& plan) {
  for (const auto& [name, service] : spec.services) {
    if (service.is_external()) continue;
    const json* found = find_service(running, name);
    const int desired = found == nullptr ? 0 : found->value("desired", 0);
    if (desired != service.instances.min)
      plan.steps.push_back({fmt::format("run {} instances of {} over {} zones",
                                        service.instances.min, name, spec.zones.size()),
                            fmt::format("{} are wanted now", desired), "safe",
                            "banyan apply with the former count"});
    else if (changed)
      plan.steps.push_back({"update " + name, "its declaration changed", "restart",
                            "banyan apply with the former spec"});
  }
}

void plan_gateways(const spec::Spec& spec, std::size_t running, std::int64_t epoch,
                   ChangePlan& plan) {
  if (static_cast<std::size_t>(spec.gateway.instances) != running)
    plan.steps.push_back({fmt::format("run {} gateways (at the next banyan up, not by apply)",
                                      spec.gateway.instances),
                          fmt::format("{} run now", running), "restart",
                          "banyan up with the former count"});
  if (epoch == 0)
    plan.steps.push_back({fmt::format("route {} through the gateway at {}", spec.routes.size(),
                                      fmt::join(spec.gateway.listen, ", ")),
                          "the gateway has no routes yet", "safe", "banyan down"});
}

}  // namespace

Result<ChangePlan> make_plan(const Project& project, const spec::Spec& spec, Records& records) {
  ChangePlan plan;
  TRY_VOID(plan_databases(spec, plan));
  TRY(plan.fleet, fleet_json(project, spec));
  TRY(const auto applied, records.applied());
  TRY(const auto sides, records.sides());
  TRY(const json running,
      project.agent().call_patiently("fleet.status", json::object(), kRolePatience));
  for (const auto& gateway : project.gateways().each())  // one may be lost: the others do
    (void)gateway.call_patiently("status", json::object(), kRolePatience);
  TRY(const std::int64_t epoch, project.gateways().epoch());
  const json wanted = route_snapshot(spec, {{"services", json::array()}}, sides, 0);
  const std::string wanted_hash = fingerprint(plan.fleet.dump() + wanted.dump());
  plan_services(spec, running, !applied.empty() && applied != wanted_hash, plan);
  plan_gateways(spec, project.gateways().size(), epoch, plan);
  std::string seen = wanted_hash;
  for (const PlanStep& step : plan.steps) seen += step.what + step.why;
  plan.hash = wanted_hash + fingerprint(seen);
  return plan;
}

Result<void> apply_plan(const Project& project, const spec::Spec& spec, Records& records,
                        const ChangePlan& plan) {
  TRY_VOID(apply_databases(spec));
  TRY_VOID(project.agent().call("fleet.apply", plan.fleet, 30s));
  TRY(const json fleet, project.agent().call("fleet.status"));
  TRY(const std::int64_t in_force, project.gateways().epoch());
  TRY(const auto sides, records.sides());
  TRY(const auto epoch, records.next_epoch(in_force));
  TRY_VOID(project.gateways().tell("snapshot.put",
                                   {{"snapshot", route_snapshot(spec, fleet, sides, epoch)}}, {}));
  return records.set_applied(plan.hash.substr(0, 16));
}

json to_json(const ChangePlan& plan) {
  json steps = json::array();
  for (const PlanStep& step : plan.steps)
    steps.push_back(
        {{"what", step.what}, {"why", step.why}, {"risk", step.risk}, {"undo", step.undo}});
  return {{"steps", steps}, {"hash", plan.hash}};
}

}  // namespace banyan::control
