#pragma once
// ChunkFilter: which changes of the stream the copy of one table already holds. Pure.
//
// Each piece of a table (a range of its key) is copied under a snapshot of its own, so a change of
// transaction x to a row with key k is in the copy exactly when the snapshot of k's piece has seen
// x. A change that moves a row from one key to another touches two pieces:
//
//   old seen, new seen     nothing to do
//   neither                the change as it is
//   old unseen, new seen   delete the old row: the new one is copied already
//   old seen, new unseen   insert the new row: the old one was never copied. What the stream does
//                          not tell of it (unchanged TOAST values) must be read again:
//                          row_refetch.h
//
// Pieces under the slot's own snapshot have seen nothing of the stream. Deciding by log position
// instead of by transaction would be wrong: a snapshot is not a position.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/snapshot_filter.h"
#include "planes/replication/transaction.h"

namespace banyan::replication {

// How texts of a key column compare: as whole numbers, or byte by byte (uuid, collation "C").
enum class KeyOrder : std::uint8_t { kNumber, kBytes };
// Whether `left` sorts before `right`.
bool is_before(KeyOrder order, std::string_view left, std::string_view right);

// Keys from `lo` to below `hi`; open ends have no value.
struct KeyRange {
  std::optional<std::string> lo;
  std::optional<std::string> hi;
};
// The ranges that are left between `done`, ascending; `done` in any order.
std::vector<KeyRange> gaps_between(KeyOrder order, std::vector<KeyRange> done);

// The replica identity's values in a row, as one text; empty when the stream does not tell them
// all.
std::string row_key(const Relation& relation, const pg::Tuple& row);
// Whether the stream tells every value of the row.
bool is_whole(const pg::Tuple& row);

struct CopiedPiece {
  KeyRange range;
  std::optional<SnapshotFilter> snapshot;  // none: the slot's own
};

class ChunkFilter {
 public:
  // A table copied under one snapshot.
  explicit ChunkFilter(SnapshotFilter snapshot);
  // A table copied in pieces; kCorruption unless these cover every key exactly once.
  static Result<ChunkFilter> create(std::string column, KeyOrder order,
                                    std::vector<CopiedPiece> pieces);

  // What of `change` (not a TRUNCATE) is not in the copy yet: null, `change`, or `part`, which is
  // then made of it. An insert so made may lack unchanged TOAST values (is_whole).
  Result<const Change*> left_to_apply(const Change& change, std::uint32_t xid, Change& part) const;

  // What of a TRUNCATE is left: nothing; or the rows for which a condition on the key `column`, by
  // its name there, holds: "true" for all.
  std::optional<std::string> left_to_truncate(std::uint32_t xid, std::string_view column) const;
  // True when a row copied again has seen `xid` and the piece it lies in has not: a TRUNCATE by it
  // cannot be told apart by ranges.
  bool has_row_beyond(std::uint32_t xid) const;

  // A row that was copied again by itself: from now on its key has this snapshot; none: the piece's
  // again. `row` is from row_key().
  void set_row(const std::string& row, std::optional<SnapshotFilter> snapshot);
  std::optional<SnapshotFilter> row_snapshot(const std::string& row) const;
  // Of the piece the new key of `change` lies in.
  std::optional<SnapshotFilter> piece_snapshot(const Change& change) const;
  // Of the key; empty when the table was copied whole.
  const std::string& column() const { return column_; }

 private:
  ChunkFilter() = default;
  struct RowPlace {
    std::string_view key;
    const pg::Tuple& row;
  };
  bool has_seen(const Relation& relation, const RowPlace& place, std::uint32_t xid) const;
  const CopiedPiece& piece_of(std::string_view key) const;
  Result<const Change*> left_of_move(const Change& change, bool old_seen, bool new_seen,
                                     Change& part) const;

  std::string column_;
  KeyOrder order_ = KeyOrder::kBytes;
  std::vector<CopiedPiece> pieces_;             // ascending; one without ends: a table copied whole
  std::map<std::string, SnapshotFilter> rows_;  // copied again, by row_key()
};

}  // namespace banyan::replication
