#pragma once
// TableCopy: copies the rows of many tables with several workers, in chunks that are each one
// transaction on the target together with their row in banyan.applied_chunks. Three modes, mixed
// freely, table by table:
//
//   S  all workers import the slot's snapshot: nothing of the stream needs to be filtered. Lives
//      as long as the session that made the slot.
//   T  a fresh snapshot for each table, shared by its chunks
//   C  a fresh snapshot for each chunk, a range of the table's key
//
// What is copied under a snapshot of its own keeps that snapshot's text: ChunkFilter leaves out of
// the stream what it has seen. A resumed copy never repeats a finished range of keys, nor touches a
// finished table; a table that was cut by pages is emptied and begun anew.
//
// Before a chunk counts: the COPY counts of both servers agree; its snapshot has seen all that the
// slot's has; and what it has seen is on the source's disk (what an asynchronous commit made
// visible could still vanish in a crash); and nobody truncated or rewrote the table behind its
// snapshot's back.

#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "planes/replication/catalog.h"
#include "planes/replication/chunk_filter.h"
#include "planes/replication/copy_throttle.h"
#include "planes/replication/mapping.h"

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

// kAuto: S while its snapshot lives, else C where a table can be cut by its key, else T.
enum class CopyMode : std::uint8_t { kAuto, kTable, kChunk };

struct TableCopyConfig {
  std::string migration;
  std::string stream;
  std::string source_url;
  std::string target_url;
  std::vector<Table> tables;
  int jobs = 2;
  CopyMode mode = CopyMode::kAuto;
  std::map<std::string, CopyMode> modes = {};  // of single tables, by display name
  std::int64_t chunk_bytes = 64 << 20;
  std::string exported_snapshot;  // empty: gone, or not wanted
  std::string slot_snapshot;      // transaction ids, as text
  Mapping mapping;
  CopyThrottle* throttle = nullptr;
  bool has_way_back = false;  // a stream flows the other way: it must not take the rows for others'
};

// Sets `progress` to what banyan.applied_chunks says; gives the tables that are not complete.
Result<std::vector<const Table*>> load_copied(pg::Connection& target, const std::string& stream,
                                              const std::vector<Table>& tables,
                                              Guarded<CopyProgress>& progress);

// Blocks until every table is copied, the first failure, or `stop`.
Result<void> copy_tables(const TableCopyConfig& config, Guarded<CopyProgress>& progress,
                         const std::stop_token& stop);

// That these are there whole, by other means than a copy.
Result<void> mark_copied(pg::Connection& target, const std::string& stream,
                         const std::vector<Table>& tables);

// What the stream need not apply, from banyan.applied_chunks: by the source's "schema.table".
Result<std::map<std::string, ChunkFilter>> read_filters(pg::Connection& target,
                                                        const std::string& stream);

}  // namespace banyan::replication
