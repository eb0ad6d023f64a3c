#pragma once
// RowRefetch: copies one row of the source again, under a snapshot of its own.
//
// Needed when a row moves from a piece of a table that was copied after the move to one that was
// copied before it: the copy holds it nowhere, and the stream does not tell its unchanged large
// values. From then on that key is a piece by itself (ChunkFilter::set_row), kept in
// banyan.refetched_rows in the transaction that writes the row.

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "planes/replication/chunk_filter.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

struct RefetchedRow {
  std::optional<pg::Tuple> row;   // as a change would tell it; none: it has gone or moved on
  std::deque<std::string> bytes;  // of its cells
  std::string snapshot;           // transaction ids
};

// The row that `moved` (an update by transaction `xid`) made. The snapshot has seen `xid`, and all
// that `piece`, of the new key, has seen. kTimeout when the source's own processes hold it back.
Result<RefetchedRow> refetch_row(pg::Connection& source, const Change& moved, std::uint32_t xid,
                                 const std::optional<SnapshotFilter>& piece);

// $1 stream, $2 table, $3 key (row_key), $4 snapshot.
std::string keep_refetched_sql();
// Completes the filters of a stream with the rows that were copied again.
Result<void> load_refetched(pg::Connection& target, const std::string& stream,
                            std::map<std::string, ChunkFilter>& filters);

}  // namespace banyan::replication
