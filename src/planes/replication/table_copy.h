#pragma once
// TableCopy: copies the rows of many tables with several workers, in chunks that are each one
// transaction on the target together with their row in banyan.applied_chunks.
//
//   mode S  all workers import the slot's snapshot: nothing of the stream needs to be filtered
//   mode T  after a crash the slot's snapshot is gone: each unfinished table is emptied and copied
//           anew under a fresh snapshot of its own, whose text is kept: the stream leaves out what
//           that snapshot has seen
//
// Finished tables are never touched again. The server's COPY counts of both sides must agree. A
// chunk is a range of ctid inside one snapshot (a row never is in two chunks, nor in none).

#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "planes/replication/catalog.h"
#include "planes/replication/snapshot_filter.h"

namespace banyan::replication {

enum class TableState : std::uint8_t { kWaiting, kCopying, kCopied };

struct TableProgress {
  TableState state = TableState::kWaiting;
  std::int64_t rows_estimate = 0;
  std::int64_t rows = 0;
  std::int64_t bytes = 0;        // sent so far
  std::int64_t bytes_total = 0;  // on the source's disk
};
using CopyProgress = std::map<std::string, TableProgress>;  // by display name

struct TableCopyConfig {
  std::string migration;
  std::string stream;
  std::string source_url;
  std::string target_url;
  std::vector<Table> tables;
  int jobs = 2;
  std::string exported_snapshot;  // empty: mode T
  std::string slot_snapshot;      // transaction ids, as text
};

// Sets `progress` to what banyan.applied_chunks says; gives the tables that are not complete.
Result<std::vector<const Table*>> load_copied(pg::Connection& target, const std::string& stream,
                                              const std::vector<Table>& tables,
                                              Guarded<CopyProgress>& progress);

// Blocks until every table is copied, the first failure, or `stop`.
Result<void> copy_tables(const TableCopyConfig& config, Guarded<CopyProgress>& progress,
                         const std::stop_token& stop);

// What mode T left in banyan.applied_chunks: by "schema.table".
Result<std::map<std::string, SnapshotFilter>> read_filters(pg::Connection& target,
                                                           const std::string& stream);

}  // namespace banyan::replication
