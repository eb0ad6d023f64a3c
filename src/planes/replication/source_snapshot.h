#pragma once
// SourceSnapshot: a snapshot of the source under which several sessions copy: the slot's, or a
// fresh one made when it is first asked for. It ends with the last owner. Any thread. No table is
// locked by it: a TRUNCATE that waits for one of our sessions would stop the others behind it.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "planes/replication/catalog.h"
#include "planes/replication/snapshot_filter.h"

namespace banyan::replication {

// What a chunk is copied under.
struct SnapshotName {
  std::string exported;  // to be imported; empty: the session has it already
  std::string text;      // transaction ids; empty: the slot's, nothing of the stream is in it
};

// Begins a transaction of `source` whose snapshot is new and has seen all that the slot's has; what
// it has seen is on the source's disk when this returns. `table` (may be null) is locked ACCESS
// SHARE from before it: to an older snapshot a TRUNCATE would look like an empty table. Gives its
// transaction ids as text.
Result<std::string> begin_fresh_snapshot(pg::Connection& source, const SnapshotFilter& slot,
                                         const Table* table);

// Begins a read-only transaction of `db` under an exported snapshot. kUnavailable when the session
// that exported it has ended, and the snapshot with it.
Result<void> begin_under(pg::Connection& db, const std::string& exported);
// What PostgreSQL says of such a snapshot.
constexpr std::string_view kSnapshotGone = "invalid snapshot identifier";

// Whether `table` was truncated or rewritten since the snapshot of `source`'s transaction: then
// what that read of it is not what the snapshot has seen. To be asked while the table is locked.
Result<bool> is_rewritten(pg::Connection& source, const Table& table);

class SourceSnapshot {
 public:
  struct Held {
    pg::Connection session;
    SnapshotName name;
  };
  // The slot's, exported by the session that made it.
  static Result<std::shared_ptr<SourceSnapshot>> import(const std::string& url,
                                                        const std::string& exported);
  SourceSnapshot(std::string url, SnapshotFilter slot)
      : url_(std::move(url)), slot_(std::move(slot)) {}
  explicit SourceSnapshot(Held held) : held_(std::move(held)) {}  // for import()

  Result<SnapshotName> name();

 private:
  Result<Held> make() const;

  const std::string url_;
  const std::optional<SnapshotFilter> slot_;
  Guarded<std::optional<Held>> held_;
};

}  // namespace banyan::replication
