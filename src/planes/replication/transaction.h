#pragma once
// What travels from a stream's receiver to its applier: committed transactions of the source, in
// commit order, cut into fragments so that a huge one never is in memory at once; and positions
// that prove that nothing was left out in between. Values that own their bytes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "planes/replication/ddl_log.h"
#include "wire/pg/pgoutput.h"

namespace banyan::replication {

// A relation as the stream described it before its first change.
struct Relation {
  struct Column {
    std::string name;
    bool is_key = false;
    friend bool operator==(const Column&, const Column&) = default;
  };
  std::uint32_t id = 0;
  std::string schema;
  std::string name;
  char replica_identity = 'd';
  std::vector<Column> columns;
  std::string display() const { return schema + "." + name; }
  bool is_ours() const { return schema == "banyan"; }
  friend bool operator==(const Relation&, const Relation&) = default;
};
using RelationPtr = std::shared_ptr<const Relation>;

enum class Operation : std::uint8_t { kInsert, kUpdate, kDelete, kTruncate };

struct Change {
  Operation operation = Operation::kInsert;
  RelationPtr relation{};
  pg::message::OldRow old_kind = pg::message::OldRow::kNone;
  pg::Tuple old_row{};  // text cells are zero-terminated
  pg::Tuple row{};
  std::vector<RelationPtr> truncated{};
  bool restart_identity = false;
};

// Bytes that stay where they are. Shared by consecutive fragments, for a block each is dear.
class Arena {
 public:
  // A copy with a zero behind it.
  char* copy(std::string_view bytes) {
    if (blocks_.empty() || left_ < bytes.size() + 1) grow(bytes.size() + 1);
    char* at = next_;
    std::memcpy(at, bytes.data(), bytes.size());
    at[bytes.size()] = '\0';
    next_ += bytes.size() + 1;
    left_ -= bytes.size() + 1;
    return at;
  }
  // Only within the first block: shared for longer, it would never be freed.
  bool has_room(std::size_t bytes) const { return blocks_.size() == 1 && left_ >= bytes; }

 private:
  void grow(std::size_t least) {
    const std::size_t size = std::max<std::size_t>(least, 65536);
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    next_ = blocks_.back().get();
    left_ = size;
  }
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  std::size_t left_ = 0;
};

struct Fragment {
  // False: only a position, `end` says up to where the stream is complete.
  bool is_transaction = false;
  bool is_first = false;
  bool is_last = false;
  std::uint32_t xid = 0;
  pg::Lsn commit;  // where the commit record begins
  pg::Lsn end;     // where it ends; of the last fragment and of positions
  std::int64_t commit_time_us = 0;
  std::optional<std::int64_t> barrier_epoch;  // of the last fragment
  std::vector<Change> changes;
  std::vector<DdlEntry> ddl{};     // what the transaction changed in the schema, as far as it came
  std::shared_ptr<Arena> arena{};  // holds the bytes of the changes
  std::size_t bytes = 0;
};

// Consecutive transactions that are committed together on the applying side.
struct Batch {
  std::vector<Fragment> fragments;
  std::size_t changes = 0;
  std::size_t bytes = 0;
  int transactions = 0;  // that end in it
  pg::Lsn end;           // of the last one
  pg::Lsn commit;        // where its commit record begins
  std::int64_t time_us = 0;
  std::optional<std::int64_t> barrier;
  bool has_ddl = false;
  bool is_alone() const { return barrier || has_ddl; }  // in a target transaction of its own
};

// What one read of the stream gave: handed over together, because a queue costs more than a row.
using Delivery = std::vector<Fragment>;

struct WeighDelivery {
  std::size_t operator()(const Delivery& delivery) const {
    std::size_t bytes = 0;
    for (const auto& fragment : delivery) bytes += fragment.bytes + 256;
    return bytes;
  }
};

}  // namespace banyan::replication
