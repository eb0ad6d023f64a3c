#include "planes/replication/engine_config.h"

#include <algorithm>

#include "base/durable_file.h"
#include "planes/replication/split_plan.h"

namespace banyan::replication {
using nlohmann::json;

namespace {

// Slots and triggers hold it, in names of at most 63 bytes, and no two may look alike there.
constexpr std::size_t kNameMost = 40;

Result<CopyMode> parse_copy_mode(const std::string& name) {
  if (name == "auto") return CopyMode::kAuto;
  if (name == "table") return CopyMode::kTable;
  if (name == "chunk") return CopyMode::kChunk;
  return failure(Code::kInvalidArgument, "copy_mode is auto, table or chunk, not " + name);
}

Result<TableNames> parse_tables(const json& list) {
  TableNames tables;
  for (const auto& table : list.is_array() ? list : json::array()) {
    if (!table.is_string()) return failure(Code::kInvalidArgument, "tables are names");
    const auto named = table.get<std::string>();
    tables.push_back(named.contains('.') ? named : "public." + named);
  }
  return tables;
}

Effort parse_effort(const json& config) {
  Effort effort;
  effort.connections = config.value("appliers", effort.connections);
  effort.far_behind =
      std::chrono::milliseconds(config.value("far_behind_ms", to_ms(effort.far_behind)));
  effort.batch_transactions =
      std::max(1, config.value("batch_transactions", effort.batch_transactions));
  return effort;
}

Result<void> check_name(std::string_view name) {
  const bool is_plain = std::ranges::all_of(
      name, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (!name.empty() && name.size() <= kNameMost && is_plain) return {};
  return std::unexpected(
      Error(Code::kInvalidArgument, fmt::format("\"{}\" cannot be the name", name))
          .with_remedy(
              fmt::format("1. Take up to {} lower case letters, digits and dashes.", kNameMost)));
}

Result<void> check_share(const EngineConfig& config) {
  if (config.share.empty()) return {};
  TRY_VOID(with_context(check_name(config.share), "share"));
  if (!config.tables.empty()) return {};
  return std::unexpected(
      Error(Code::kInvalidArgument, "a whole database shares its slot with nobody")
          .with_remedy("1. List the tables that move. 2. Leave out share."));
}

}  // namespace

TableNames EngineConfig::carried(SideName from) const {
  if (tables.empty()) return {};
  TableNames all = from == SideName::kOld && is_copies_only ? TableNames() : tables;
  if (from == SideName::kOld) all.insert(all.end(), copies.begin(), copies.end());
  return all;
}

Direction EngineConfig::direction(SideName from, const TableNames& named) const {
  auto there = mapping.names_there(named);
  if (from == SideName::kOld) return {named, std::move(there), mapping};
  return {std::move(there), named, mapping.reversed()};
}

ThrottleLimits parse_throttle(const json& limits, ThrottleLimits now) {
  now.bytes_per_s = limits.value("bytes_per_s", now.bytes_per_s);
  now.source_latency =
      std::chrono::milliseconds(limits.value("source_latency_ms", to_ms(now.source_latency)));
  now.replica_lag =
      std::chrono::milliseconds(limits.value("replica_lag_ms", to_ms(now.replica_lag)));
  return now;
}

Result<EngineConfig> parse_engine_config(const std::string& name, const json& config) {
  TRY_VOID(with_context(check_name(name), "a migration"));
  EngineConfig parsed;
  parsed.name = name;
  if (!config.contains("source") || !config["source"].is_string() || !config.contains("target") ||
      !config["target"].is_string()) {
    return failure(Code::kInvalidArgument, "config needs source and target, two PostgreSQL URLs");
  }
  parsed.sides = {config["source"], config["target"]};
  TRY(parsed.tables, parse_tables(config.value("tables", json("all"))));
  TRY(parsed.copies, parse_tables(config.value("copies", json())));
  parsed.left_out = config.value("left_out", std::vector<std::string>());
  parsed.is_copies_only = config.value("copies_only", false);
  if (const auto role = config.value("service_role", json()); role.is_object()) {
    parsed.service_role = ServiceRole{role.value("name", ""), role.value("password", "")};
  }
  parsed.share = config.value("share", "");
  TRY_VOID(check_share(parsed));
  parsed.jobs = config.value("jobs", 2);
  TRY(parsed.copy_mode, parse_copy_mode(config.value("copy_mode", "auto")));
  for (const auto& [table, mode] : config.value("copy_of", json::object()).items()) {
    const auto name = parse_table_name(table);
    TRY(parsed.copy_of[name.schema + "." + name.table], parse_copy_mode(mode.get<std::string>()));
  }
  parsed.chunk_bytes = std::max<std::int64_t>(1, config.value("chunk_bytes", parsed.chunk_bytes));
  parsed.throttle = parse_throttle(config.value("throttle", json::object()), {});
  const auto spool = config.value("spool", json::object());
  parsed.spool_limit = spool.value("limit_bytes", parsed.spool_limit);
  parsed.kept_wal_limit = spool.value("kept_wal_bytes", parsed.kept_wal_limit);
  TRY(parsed.ddl, parse_ddl_policy(config.value("ddl", "stop")));
  parsed.ddl_every =
      std::chrono::milliseconds(config.value("ddl_every_ms", to_ms(parsed.ddl_every)));
  parsed.snapshot_age =
      std::chrono::milliseconds(config.value("snapshot_age_ms", to_ms(parsed.snapshot_age)));
  TRY(parsed.mapping, Mapping::parse(config.value("map", json())));
  if (config.value("apply", "sets") == "rows") parsed.apply_way = BatchWriter::Way::kRows;
  parsed.effort = parse_effort(config);
  parsed.app_listen = config.value("app_listen", "");
  parsed.slot_prefix = config.value("slot_prefix", parsed.slot_prefix);
  return parsed;
}

Result<json> settle_config(const std::string& name, json config) {
  TRY(const auto parsed, parse_engine_config(name, config));
  if (parsed.tables.empty() || config.contains("copies")) return config;
  TRY(auto source, with_context(pg::Connection::open(parsed.sides.old_url), "the old database"));
  TRY(const auto plan,
      plan_split(source, parsed.tables, config.value("decisions", SplitDecisions())));
  TRY_VOID(require_decisions(plan));
  config.erase("decisions");
  config["tables"] = plan.tables;
  config["copies"] = plan.copies;
  config["left_out"] = plan.left_out;
  return config;
}

Result<void> write_config(const std::filesystem::path& directory, const json& config) {
  std::error_code trouble;
  std::filesystem::create_directories(directory, trouble);
  return write_durably(directory / "config.json", config.dump(2));
}

}  // namespace banyan::replication
