#include "planes/replication/chunk_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "wire/pg/connection.h"

namespace banyan::replication {
namespace {

std::int64_t number_of(std::string_view text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

bool seen_by(const CopiedPiece& piece, std::uint32_t xid) {
  return piece.snapshot && piece.snapshot->has_seen(xid);
}

// The key in a row as the stream tells it; nothing when the stream leaves it out.
std::optional<std::string_view> key_in(const Change& change, const pg::Tuple& row,
                                       std::string_view column) {
  const auto& columns = change.relation->columns;
  for (std::size_t i = 0; i < columns.size() && i < row.size(); i++) {
    if (columns[i].name != column) continue;
    if (row[i].kind != pg::CellKind::kText) return std::nullopt;
    return row[i].bytes;
  }
  return std::nullopt;
}

bool is_whole(const pg::Tuple& row) {
  return std::ranges::none_of(
      row, [](const pg::Cell& cell) { return cell.kind == pg::CellKind::kUnchangedToast; });
}

std::string condition_of(const std::string& column, const KeyRange& range) {
  std::string sql = "true";
  if (range.lo) sql += fmt::format(" and {} >= {}", column, pg::quote_literal(*range.lo));
  if (range.hi) sql += fmt::format(" and {} < {}", column, pg::quote_literal(*range.hi));
  return "(" + sql + ")";
}

}  // namespace

bool is_before(KeyOrder order, std::string_view left, std::string_view right) {
  return order == KeyOrder::kNumber ? number_of(left) < number_of(right) : left < right;
}

std::vector<KeyRange> gaps_between(KeyOrder order, std::vector<KeyRange> done) {
  std::ranges::sort(done, [&](const KeyRange& a, const KeyRange& b) {
    if (!a.lo || !b.lo) return !a.lo && b.lo.has_value();
    return is_before(order, *a.lo, *b.lo);
  });
  std::vector<KeyRange> gaps;
  std::optional<std::string> reached;
  bool is_at_start = true;
  for (auto& range : done) {
    const bool leaves_gap =
        range.lo && (is_at_start || (reached && is_before(order, *reached, *range.lo)));
    if (leaves_gap) gaps.push_back({is_at_start ? std::nullopt : reached, range.lo});
    is_at_start = false;
    reached = range.hi;
    if (!range.hi) return gaps;
  }
  gaps.push_back({is_at_start ? std::nullopt : reached, std::nullopt});
  return gaps;
}

ChunkFilter::ChunkFilter(SnapshotFilter snapshot) {
  pieces_.push_back({{}, std::move(snapshot)});
}

Result<ChunkFilter> ChunkFilter::create(std::string column, KeyOrder order,
                                        std::vector<CopiedPiece> pieces) {
  std::ranges::sort(pieces, [&](const CopiedPiece& a, const CopiedPiece& b) {
    if (!a.range.lo || !b.range.lo) return !a.range.lo && b.range.lo.has_value();
    return is_before(order, *a.range.lo, *b.range.lo);
  });
  bool covers = !pieces.empty() && !pieces.front().range.lo && !pieces.back().range.hi;
  for (std::size_t i = 1; covers && i < pieces.size(); i++) {
    covers = pieces[i].range.lo.has_value() && pieces[i - 1].range.hi == pieces[i].range.lo;
  }
  if (!covers) {
    return failure(Code::kCorruption, "the copied pieces do not cover every key exactly once");
  }
  ChunkFilter filter;
  filter.column_ = std::move(column);
  filter.order_ = order;
  filter.pieces_ = std::move(pieces);
  return filter;
}

const CopiedPiece& ChunkFilter::piece_of(std::string_view key) const {
  const auto next = std::upper_bound(pieces_.begin() + 1, pieces_.end(), key,
                                     [&](std::string_view wanted, const CopiedPiece& piece) {
                                       return is_before(order_, wanted, *piece.range.lo);
                                     });
  return *(next - 1);
}

bool ChunkFilter::has_seen(std::string_view key, std::uint32_t xid) const {
  return seen_by(piece_of(key), xid);
}

Result<const Change*> ChunkFilter::left_of_move(const Change& change, bool old_seen, bool new_seen,
                                                Change& part) const {
  if (old_seen && new_seen) return nullptr;
  if (!old_seen && !new_seen) return &change;
  part = change;
  if (new_seen) {
    part.operation = Operation::kDelete;
    part.row.clear();
    return &part;
  }
  const bool knows_old = change.old_kind == pg::message::OldRow::kFull;
  for (std::size_t i = 0; knows_old && i < part.row.size() && i < part.old_row.size(); i++) {
    if (part.row[i].kind == pg::CellKind::kUnchangedToast) part.row[i] = part.old_row[i];
  }
  if (!is_whole(part.row)) {
    return std::unexpected(
        Error(
            Code::kConflict,
            fmt::format("a row of {} changed its key while it was copied, and the stream does not "
                        "tell its large values",
                        change.relation->display()))
            .with_remedy("Cancel and create the migration again with copy_mode \"table\", or set "
                         "REPLICA IDENTITY FULL on the table before."));
  }
  part.operation = Operation::kInsert;
  part.old_row.clear();
  part.old_kind = pg::message::OldRow::kNone;
  return &part;
}

Result<const Change*> ChunkFilter::left_to_apply(const Change& change, std::uint32_t xid,
                                                 Change& part) const {
  if (pieces_.size() == 1) return seen_by(pieces_.front(), xid) ? nullptr : &change;
  const bool is_delete = change.operation == Operation::kDelete;
  const auto new_key = key_in(change, change.row, column_);
  auto old_key = key_in(change, change.old_row, column_);
  if (!old_key) old_key = new_key;  // told only when it changes
  if (!old_key || (!is_delete && !new_key)) {
    return failure(Code::kCorruption, fmt::format("a change of {} comes without its key {}",
                                                  change.relation->display(), column_));
  }
  const bool old_seen = has_seen(*old_key, xid);
  const bool is_in_one_place =
      is_delete || change.operation == Operation::kInsert || *old_key == *new_key;
  if (is_in_one_place) return old_seen ? nullptr : &change;
  return left_of_move(change, old_seen, has_seen(*new_key, xid), part);
}

std::optional<std::string> ChunkFilter::left_to_truncate(std::uint32_t xid,
                                                         std::string_view column) const {
  std::string condition;
  bool is_partly_seen = false;
  for (const auto& piece : pieces_) {
    if (seen_by(piece, xid)) {
      is_partly_seen = true;
      continue;
    }
    condition +=
        (condition.empty() ? "" : " or ") + condition_of(pg::quote_ident(column), piece.range);
  }
  if (condition.empty()) return std::nullopt;
  return is_partly_seen ? condition : "true";
}

}  // namespace banyan::replication
