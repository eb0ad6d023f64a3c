#pragma once
// EngineConfig: what one migration was started with.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "planes/replication/act.h"
#include "planes/replication/applier.h"
#include "planes/replication/copy_throttle.h"
#include "planes/replication/ddl_log.h"
#include "planes/replication/split_ends.h"
#include "planes/replication/table_copy.h"

namespace banyan::replication {

struct EngineConfig {
  std::string name;
  Sides sides;
  TableNames tables;  // of the old side; empty: all
  // Of a split: tables that stay, copied and followed whoever serves `tables`, read-only there.
  TableNames copies;
  // Of a split: objects that the new database does not get (split_plan.h).
  std::vector<std::string> left_out;
  std::optional<ServiceRole> service_role;
  std::string share;  // of a split: the slot of this name is read with others; empty: its own
  // The split is complete: only the copies are followed.
  bool is_copies_only = false;
  int jobs = 2;
  Mapping mapping;
  std::filesystem::path spool;                        // directory for received changes
  std::int64_t spool_limit = std::int64_t{16} << 30;  // bytes that wait to be read
  std::int64_t kept_wal_limit = 0;  // bytes; over it the spool vouches; 0: what the server allows
  BatchWriter::Way apply_way = BatchWriter::Way::kSets;
  Effort effort;
  std::string slot_prefix = "banyan_";
  CopyMode copy_mode = CopyMode::kAuto;
  std::map<std::string, CopyMode> copy_of;  // of single tables, by "schema.table"
  std::int64_t chunk_bytes = 64 << 20;
  ThrottleLimits throttle;
  DdlPolicy ddl = DdlPolicy::kStop;
  Duration ddl_every = 30s;      // between two looks at the schemas
  Duration snapshot_age = 5min;  // of a verification, see VerifierOptions
  std::string app_listen;        // where the old application is found; empty: there is none

  // The tables whose rows the stream out of a side carries, by the old side's names.
  TableNames carried(SideName from) const;
  // What moves out of `from` of the tables with these names of the old side: each side's by its
  // own.
  Direction direction(SideName from, const TableNames& named) const;
  Direction direction(SideName from) const { return direction(from, tables); }
  Direction streamed(SideName from) const { return direction(from, carried(from)); }
  TableNames tables_of(SideName side) const { return direction(side).from; }
};

// The configuration of the verb `start`: {source, target, tables: "all"|[..], jobs, slot_prefix?,
// share?, copies?, left_out?, copies_only? (of a split, see settle_config), service_role?: {name,
// password?}, map? (mapping.h), apply?: "sets"|"rows", appliers?, far_behind_ms?,
// batch_transactions? (applier.h), copy_mode?: "auto"|"table"|"chunk", copy_of?: {table: mode},
// chunk_bytes?, throttle?: {bytes_per_s?, ...}, spool?: {limit_bytes?, kept_wal_bytes?},
// ddl?: "stop"|"freeze"|"apply_safe", ddl_every_ms?, snapshot_age_ms?,
// app_listen?}.
Result<EngineConfig> parse_engine_config(const std::string& name, const nlohmann::json& config);

// The configuration of a split with what its `decisions` (split_plan.h) come to, and without them;
// any other as it is. Asks the source. kConflict while something that crosses is not decided.
Result<nlohmann::json> settle_config(const std::string& name, nlohmann::json config);

// Keeps the configuration in the migration's directory, before anything is done by it.
Result<void> write_config(const std::filesystem::path& directory, const nlohmann::json& config);

// What `limits` does not say stays as it is: {bytes_per_s?, source_latency_ms?, replica_lag_ms?}.
ThrottleLimits parse_throttle(const nlohmann::json& limits, ThrottleLimits now);

}  // namespace banyan::replication
