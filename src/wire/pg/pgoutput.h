#pragma once
// PgOutputDecoder: the messages of PostgreSQL's pgoutput plugin, protocol versions 1 to 4.
//
// Sans-IO: one payload in, one message out; anything malformed is kCorruption, never a crash. Views
// in a message point into the payload. Remembers only whether it is inside a streamed block.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "wire/pg/lsn.h"

namespace banyan::pg {

enum class CellKind : char { kNull = 'n', kUnchangedToast = 'u', kText = 't', kBinary = 'b' };

struct Cell {
  CellKind kind = CellKind::kNull;
  std::string_view bytes;
  friend bool operator==(const Cell&, const Cell&) = default;
};
using Tuple = std::vector<Cell>;

namespace message {
struct Begin {
  Lsn commit_lsn;
  std::int64_t commit_time_us;  // since 2000-01-01
  std::uint32_t xid;
};
struct Commit {
  Lsn commit_lsn;
  Lsn end_lsn;
  std::int64_t commit_time_us;
};
struct Origin {
  Lsn commit_lsn;
  std::string_view name;
};
struct RelationColumn {
  bool is_key = false;
  std::string_view name;
  std::uint32_t type_id = 0;
  std::int32_t type_modifier = -1;
};
struct Relation {
  std::uint32_t id;
  std::string_view schema;
  std::string_view name;
  char replica_identity;  // d, n, f, i
  std::vector<RelationColumn> columns;
};
struct Type {
  std::uint32_t id;
  std::string_view schema;
  std::string_view name;
};
struct Insert {
  std::uint32_t relation;
  Tuple row;
};
// What is known of the old row: its key, all of it, or nothing (the key did not change).
enum class OldRow : char { kNone = 0, kKey = 'K', kFull = 'O' };
struct Update {
  std::uint32_t relation;
  OldRow old_kind = OldRow::kNone;
  Tuple old_row;
  Tuple row;
};
struct Delete {
  std::uint32_t relation;
  OldRow old_kind = OldRow::kKey;
  Tuple old_row;
};
struct Truncate {
  bool cascade = false;
  bool restart_identity = false;
  std::vector<std::uint32_t> relations;
};
struct Logical {
  bool is_transactional = false;
  Lsn lsn;
  std::string_view prefix;
  std::string_view content;
};
struct StreamStart {
  std::uint32_t xid;
  bool is_first = false;
};
struct StreamStop {};
struct StreamCommit {
  std::uint32_t xid;
  Lsn commit_lsn;
  Lsn end_lsn;
  std::int64_t commit_time_us;
};
struct StreamAbort {
  std::uint32_t xid;
  std::uint32_t subxid;
  Lsn lsn;  // of the abort; zero before version 4
};
}  // namespace message

using PgOutputMessage =
    std::variant<message::Begin, message::Commit, message::Origin, message::Relation, message::Type,
                 message::Insert, message::Update, message::Delete, message::Truncate,
                 message::Logical, message::StreamStart, message::StreamStop, message::StreamCommit,
                 message::StreamAbort>;

class PgOutputDecoder {
 public:
  Result<PgOutputMessage> decode(std::string_view payload);
  // The (sub)transaction of the last message inside a streamed block; 0 outside of one.
  std::uint32_t streamed_xid() const { return streamed_xid_; }
  // A change inside a streamed block, not decoded: whose it is, and the payload that version 1
  // would have (`scratch` holds it). Nothing for every other payload.
  struct StreamedChange {
    std::uint32_t xid;
    std::string_view payload;
  };
  std::optional<StreamedChange> streamed_change(std::string_view payload,
                                                std::string& scratch) const;

 private:
  bool in_stream_ = false;
  std::uint32_t streamed_xid_ = 0;
};

}  // namespace banyan::pg
