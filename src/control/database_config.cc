#include "control/database_config.h"

namespace banyan::control {
namespace {

using nlohmann::json;

json map_json(const spec::DatabaseMove& move) {
  json map = json::array();
  for (const auto& table : move.map) {
    json one = {{"table", table.table}, {"columns", table.columns}, {"without", table.without}};
    if (!table.to.empty()) one["to"] = table.to;
    if (!table.where.empty()) one["where"] = table.where;
    map.push_back(std::move(one));
  }
  return map;
}

}  // namespace

Result<json> database_config(const spec::Spec& spec, const spec::Migration& migration) {
  const auto& move = *migration.database;
  TRY(const auto source, spec::resolve(spec, spec.source->database->url));
  TRY(const auto target, spec::resolve(spec, spec.databases.at(move.to).url));
  json config = {{"source", source},
                 {"target", target},
                 {"tables", move.tables.empty() ? json("all") : json(move.tables)},
                 {"map", map_json(move)},
                 {"jobs", move.jobs},
                 {"appliers", move.appliers},
                 {"copy_mode", move.copy},
                 {"copy_of", move.copy_of},
                 {"chunk_bytes", move.chunk},
                 {"apply", move.apply},
                 {"ddl", move.ddl},
                 {"decisions", move.decisions},
                 {"spool",
                  {{"limit_bytes", move.spool_mb * 1'000'000LL},
                   {"kept_wal_bytes", move.kept_wal_mb * 1'000'000LL}}},
                 {"throttle",
                  {{"bytes_per_s", move.max_mb_per_s * 1'000'000LL},
                   {"source_latency_ms", move.throttle.source_latency.count()},
                   {"replica_lag_ms", move.throttle.replica_lag.count()}}}};
  if (spec.has_app()) config["app_listen"] = spec.source->app.listen;
  if (!move.share.empty()) config["share"] = move.share;
  if (!move.service_role) return config;
  config["service_role"] = {{"name", move.service_role->name}};
  if (const auto& password = move.service_role->password) {
    TRY(config["service_role"]["password"], spec::resolve(spec, *password));
  }
  return config;
}

}  // namespace banyan::control
