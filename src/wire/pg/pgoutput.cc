#include "wire/pg/pgoutput.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::pg {
namespace {

// Reads big-endian fields; once something is missing it stays failed and gives zeros.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool is_good() const { return good_; }
  bool is_done() const { return good_ && rest_.empty(); }
  std::size_t left() const { return rest_.size(); }

  std::string_view bytes(std::size_t count) {
    if (!good_ || rest_.size() < count) {
      good_ = false;
      return {};
    }
    const auto taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  template <class T>
  T integer() {
    std::uint64_t value = 0;
    for (const char c : bytes(sizeof(T))) value = value << 8 | static_cast<unsigned char>(c);
    return static_cast<T>(value);
  }
  Lsn lsn() { return Lsn(integer<std::uint64_t>()); }
  char letter() {
    const auto one = bytes(1);
    return one.empty() ? '\0' : one[0];
  }
  std::string_view cstring() {
    const auto end = rest_.find('\0');
    if (!good_ || end == std::string_view::npos) {
      good_ = false;
      return {};
    }
    const auto text = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::string_view counted() {
    const auto length = integer<std::int32_t>();
    if (length < 0) good_ = false;
    return good_ ? bytes(static_cast<std::size_t>(length)) : std::string_view();
  }
  void fail() { good_ = false; }

 private:
  std::string_view rest_;
  bool good_ = true;
};

Cell read_cell(Reader& in) {
  const char kind = in.letter();
  switch (kind) {
    case 'n':
    case 'u':
      return {.kind = static_cast<CellKind>(kind), .bytes = {}};
    case 't':
    case 'b':
      return {.kind = static_cast<CellKind>(kind), .bytes = in.counted()};
    default:
      in.fail();
      return {};
  }
}

Tuple read_tuple(Reader& in) {
  const auto count = in.integer<std::uint16_t>();
  Tuple tuple;
  tuple.reserve(std::min<std::size_t>(count, in.left()));
  for (int i = 0; i < count && in.is_good(); ++i) tuple.push_back(read_cell(in));
  return tuple;
}

message::Begin read_begin(Reader& in) {
  message::Begin begin{};
  begin.commit_lsn = in.lsn();
  begin.commit_time_us = in.integer<std::int64_t>();
  begin.xid = in.integer<std::uint32_t>();
  return begin;
}

message::Commit read_commit(Reader& in) {
  message::Commit commit{};
  in.bytes(1);  // flags, unused
  commit.commit_lsn = in.lsn();
  commit.end_lsn = in.lsn();
  commit.commit_time_us = in.integer<std::int64_t>();
  return commit;
}

message::Origin read_origin(Reader& in) {
  message::Origin origin{};
  origin.commit_lsn = in.lsn();
  origin.name = in.cstring();
  return origin;
}

message::RelationColumn read_column(Reader& in) {
  message::RelationColumn column;
  column.is_key = (in.integer<std::uint8_t>() & 1) != 0;
  column.name = in.cstring();
  column.type_id = in.integer<std::uint32_t>();
  column.type_modifier = in.integer<std::int32_t>();
  return column;
}

message::Relation read_relation(Reader& in) {
  message::Relation relation{};
  relation.id = in.integer<std::uint32_t>();
  relation.schema = in.cstring();
  if (relation.schema.empty()) relation.schema = "pg_catalog";
  relation.name = in.cstring();
  relation.replica_identity = in.letter();
  const auto count = in.integer<std::uint16_t>();
  for (int i = 0; i < count && in.is_good(); ++i) relation.columns.push_back(read_column(in));
  return relation;
}

message::Type read_type(Reader& in) {
  message::Type type{};
  type.id = in.integer<std::uint32_t>();
  type.schema = in.cstring();
  type.name = in.cstring();
  return type;
}

void expect_letter(Reader& in, char letter) {
  if (in.letter() != letter) in.fail();
}

message::Insert read_insert(Reader& in) {
  message::Insert insert{};
  insert.relation = in.integer<std::uint32_t>();
  expect_letter(in, 'N');
  insert.row = read_tuple(in);
  return insert;
}

message::Update read_update(Reader& in) {
  message::Update update{};
  update.relation = in.integer<std::uint32_t>();
  char part = in.letter();
  if (part == 'K' || part == 'O') {
    update.old_kind = static_cast<message::OldRow>(part);
    update.old_row = read_tuple(in);
    part = in.letter();
  }
  if (part != 'N') in.fail();
  update.row = read_tuple(in);
  return update;
}

message::Delete read_delete(Reader& in) {
  message::Delete removed{};
  removed.relation = in.integer<std::uint32_t>();
  const char part = in.letter();
  if (part != 'K' && part != 'O') in.fail();
  removed.old_kind = static_cast<message::OldRow>(part);
  removed.old_row = read_tuple(in);
  return removed;
}

message::Truncate read_truncate(Reader& in) {
  message::Truncate truncate{};
  const auto count = in.integer<std::uint32_t>();
  const auto flags = in.integer<std::uint8_t>();
  truncate.cascade = (flags & 1) != 0;
  truncate.restart_identity = (flags & 2) != 0;
  for (std::uint32_t i = 0; i < count && in.is_good(); ++i) {
    truncate.relations.push_back(in.integer<std::uint32_t>());
  }
  return truncate;
}

message::Logical read_logical(Reader& in) {
  message::Logical logical{};
  logical.is_transactional = (in.integer<std::uint8_t>() & 1) != 0;
  logical.lsn = in.lsn();
  logical.prefix = in.cstring();
  logical.content = in.counted();
  return logical;
}

message::StreamStart read_stream_start(Reader& in) {
  message::StreamStart start{};
  start.xid = in.integer<std::uint32_t>();
  start.is_first = in.integer<std::uint8_t>() == 1;
  return start;
}

message::StreamCommit read_stream_commit(Reader& in) {
  message::StreamCommit commit{};
  commit.xid = in.integer<std::uint32_t>();
  in.bytes(1);
  commit.commit_lsn = in.lsn();
  commit.end_lsn = in.lsn();
  commit.commit_time_us = in.integer<std::int64_t>();
  return commit;
}

message::StreamAbort read_stream_abort(Reader& in) {
  message::StreamAbort abort{};
  abort.xid = in.integer<std::uint32_t>();
  abort.subxid = in.integer<std::uint32_t>();
  if (in.left() == 0) return abort;
  abort.lsn = in.lsn();
  in.bytes(8);  // when
  return abort;
}

PgOutputMessage read_change(Reader& in, char kind) {
  switch (kind) {
    case 'R':
      return read_relation(in);
    case 'Y':
      return read_type(in);
    case 'I':
      return read_insert(in);
    case 'U':
      return read_update(in);
    case 'D':
      return read_delete(in);
    case 'T':
      return read_truncate(in);
    default:
      return read_logical(in);
  }
}

PgOutputMessage read_control(Reader& in, char kind) {
  switch (kind) {
    case 'B':
      return read_begin(in);
    case 'C':
      return read_commit(in);
    case 'O':
      return read_origin(in);
    case 'S':
      return read_stream_start(in);
    case 'E':
      return message::StreamStop{};
    case 'c':
      return read_stream_commit(in);
    case 'A':
      return read_stream_abort(in);
    default:
      in.fail();
      return message::StreamStop{};
  }
}

bool is_change(char kind) {
  return std::string_view("RYIUDTM").find(kind) != std::string_view::npos;
}

}  // namespace

std::optional<PgOutputDecoder::StreamedChange> PgOutputDecoder::streamed_change(
    std::string_view payload, std::string& scratch) const {
  Reader in(payload);
  const char kind = in.letter();
  if (!in_stream_ || !is_change(kind)) return std::nullopt;
  const auto xid = in.integer<std::uint32_t>();
  if (!in.is_good()) return std::nullopt;
  scratch.assign(1, kind);
  scratch.append(in.bytes(in.left()));
  return StreamedChange{.xid = xid, .payload = scratch};
}

Result<PgOutputMessage> PgOutputDecoder::decode(std::string_view payload) {
  Reader in(payload);
  const char kind = in.letter();
  const bool change = is_change(kind);
  streamed_xid_ = change && in_stream_ ? in.integer<std::uint32_t>() : 0;
  PgOutputMessage result = change ? read_change(in, kind) : read_control(in, kind);
  if (!in.is_done()) {
    return failure(Code::kCorruption,
                   fmt::format("malformed pgoutput message of kind {:#04x}, {} bytes",
                               static_cast<unsigned char>(kind), payload.size()));
  }
  if (kind == 'S') in_stream_ = true;
  if (kind == 'E') in_stream_ = false;
  return result;
}

}  // namespace banyan::pg
