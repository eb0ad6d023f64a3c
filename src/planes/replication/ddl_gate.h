#pragma once
// DdlGate: what becomes of a source transaction that changed the schema, asked when everything
// before it is applied and nothing of it:
//
//   the tables here are as it left them, or all else is undone there ──► goes on
//   apply_safe, and every difference can be repeated (schema_watch.h) ─► repeated, then goes on
//   otherwise ─────────────────────────────────────────────────────────► stops before it
//
// What is repeated only adds what no row before it names, so it may stand in front of the whole
// transaction, each statement by itself; after a crash the comparison finds what is done. Indexes
// never stop anything and are built beside the stream, behind it (SchemaKeeper). New tables join by
// SchemaKeeper too.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "planes/replication/ddl_log.h"
#include "planes/replication/schema_watch.h"

namespace banyan::replication {

// Whether all of these may be repeated on the other side, as far as they stop anything.
bool may_repeat(DdlPolicy policy, const std::vector<SchemaDifference>& found);
// Waits at most 5 s for a lock.
Result<void> repeat_changes(pg::Connection& target, const std::vector<SchemaDifference>& found);

struct DdlGateConfig {
  std::string from_url;
  std::string to_url;
  Direction direction;
  DdlPolicy policy = DdlPolicy::kStop;
};

// What became of an entry; for people.
struct DdlNote {
  pg::Lsn commit;
  DdlEntry entry;
  std::string verdict;  // applied, repeated, outside, stops
};

struct DdlOutcome {
  std::vector<DdlNote> notes;
  std::optional<Error> stop;  // with numbered ways out
};

class DdlGate {
 public:
  explicit DdlGate(DdlGateConfig config) : config_(std::move(config)) {}

  // Only the tables in `among` ("schema.table") count, when it is given.
  using Among = std::optional<std::set<std::string>>;
  Result<DdlOutcome> pass(const DdlTransaction& transaction, const Among& among) const;
  // Whether pass() would go on. Changes nothing.
  Result<bool> would_pass(const DdlTransaction& transaction) const;

 private:
  struct Sides {
    pg::Connection source;
    pg::Connection target;
    std::set<std::string> moved;  // of the target, quoted
  };
  Result<Sides> look(const Among& among) const;
  using Differences = std::vector<SchemaDifference>;
  Result<Differences> differences(Sides& sides, const DdlTransaction& transaction) const;
  Error stopped(const DdlTransaction& transaction, const Differences& found) const;

  const DdlGateConfig config_;
};

}  // namespace banyan::replication
