#pragma once
// Compaction: what many changes of one table's rows come to, so that each row is written once.
//
//   insert, update = insert      update, update = update     update, delete = delete
//   insert, delete = nothing     delete, insert = replace    a changed key = delete and insert
// A later unchanged TOAST value keeps the earlier one. Pure; refers to the changes, which must
// outlive it. Rows are told apart by the text of their key, which the stream always repeats
// exactly.

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "planes/replication/transaction.h"

namespace banyan::replication {

// What becomes of one row. `row` is null when it is deleted; a row that `was_there` and `is_whole`
// is replaced: deleted and inserted.
struct NetChange {
  const pg::Tuple* key = nullptr;  // a row with the key's values
  const pg::Tuple* row = nullptr;
  bool was_there = false;
  bool is_there = false;
  bool is_whole = false;  // `row` has all values
  bool is_deleted() const { return was_there && (!is_there || is_whole); }
  bool is_inserted() const { return is_there && is_whole; }
  bool is_updated() const { return was_there && is_there && !is_whole; }
};

// Which row has a key: an index that keeps its memory from batch to batch.
class KeyIndex {
 public:
  // The place of the key, and whether it is new there: then `place` is what it gets.
  std::pair<std::size_t, bool> find_or_add(std::string_view key, std::size_t place);
  void clear();

 private:
  struct Slot {
    std::string_view key;
    std::size_t hash = 0;
    std::size_t place = 0;
    bool is_used = false;
  };
  void grow();
  Slot& slot_of(std::string_view key, std::size_t hash);
  std::vector<Slot> slots_;  // a power of two, at most half full
  std::size_t used_ = 0;
};

class Compaction {
 public:
  // Positions of the key columns; without any only inserts can be compacted.
  explicit Compaction(std::vector<std::size_t> key) : key_(std::move(key)) {}
  // False: it cannot be told what this comes to (a value is not known, or the changes contradict
  // one another). Then the table's changes have to be written one by one, in order.
  bool add(const Change& change);
  const std::vector<NetChange>& rows() const { return rows_; }
  void clear();

 private:
  bool insert(const pg::Tuple& row);
  bool update(const Change& change);
  bool move(const Change& change, NetChange& from);
  bool remove(const Change& change);
  bool is_moved(const Change& change) const;
  // The row of that key, new when there was none before; null when a key value is missing.
  NetChange* find(const pg::Tuple& row, bool is_there_if_new);
  bool key_of(const pg::Tuple& row);
  const pg::Tuple* merge(const pg::Tuple* before, const pg::Tuple& after);

  const std::vector<std::size_t> key_;
  std::vector<NetChange> rows_;
  KeyIndex index_;
  std::deque<pg::Tuple> merged_;
  std::deque<std::string> long_keys_;  // of several columns
  std::string_view wanted_;            // the key being looked for
};

}  // namespace banyan::replication
