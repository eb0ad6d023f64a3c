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

std::string condition_of(const std::string& column, const KeyRange& range) {
  std::string sql = "true";
  if (range.lo) sql += fmt::format(" and {} >= {}", column, pg::quote_literal(*range.lo));
  if (range.hi) sql += fmt::format(" and {} < {}", column, pg::quote_literal(*range.hi));
  return "(" + sql + ")";
}

}  // namespace

bool is_whole(const pg::Tuple& row) {
  return std::ranges::none_of(
      row, [](const pg::Cell& cell) { return cell.kind == pg::CellKind::kUnchangedToast; });
}

std::string row_key(const Relation& relation, const pg::Tuple& row) {
  std::string key;
  for (std::size_t i = 0; i < relation.columns.size() && i < row.size(); i++) {
    if (!relation.columns[i].is_key) continue;
    if (row[i].kind != pg::CellKind::kText) return "";
    key += fmt::format("{}:{}", row[i].bytes.size(), row[i].bytes);
  }
  return key;
}

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

bool ChunkFilter::has_seen(const Relation& relation, const RowPlace& place,
                           std::uint32_t xid) const {
  if (!rows_.empty()) {
    const auto again = rows_.find(row_key(relation, place.row));
    if (again != rows_.end()) return again->second.has_seen(xid);
  }
  return seen_by(piece_of(place.key), xid);
}

bool ChunkFilter::has_row_beyond(std::uint32_t xid) const {
  // Which piece a row lies in is not kept: any piece that has not seen it counts.
  const bool all_seen =
      std::ranges::all_of(pieces_, [&](const CopiedPiece& piece) { return seen_by(piece, xid); });
  return !all_seen &&
         std::ranges::any_of(rows_, [&](const auto& entry) { return entry.second.has_seen(xid); });
}

void ChunkFilter::set_row(const std::string& row, std::optional<SnapshotFilter> snapshot) {
  if (snapshot) {
    rows_.insert_or_assign(row, *std::move(snapshot));
  } else {
    rows_.erase(row);
  }
}

std::optional<SnapshotFilter> ChunkFilter::row_snapshot(const std::string& row) const {
  const auto found = rows_.find(row);
  return found == rows_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<SnapshotFilter> ChunkFilter::piece_snapshot(const Change& change) const {
  return piece_of(key_in(change, change.row, column_).value_or("")).snapshot;
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
  const bool is_told_old = old_key.has_value();
  if (!is_told_old) old_key = new_key;  // told only when it changes
  if (!old_key || (!is_delete && !new_key)) {
    return failure(Code::kCorruption, fmt::format("a change of {} comes without its key {}",
                                                  change.relation->display(), column_));
  }
  const auto& old_tuple = is_told_old ? change.old_row : change.row;
  const bool old_seen = has_seen(*change.relation, {*old_key, old_tuple}, xid);
  const bool is_in_one_place = is_delete || change.operation == Operation::kInsert ||
                               !is_told_old || (rows_.empty() && *old_key == *new_key);
  if (is_in_one_place) return old_seen ? nullptr : &change;
  const bool new_seen = has_seen(*change.relation, {*new_key, change.row}, xid);
  return left_of_move(change, old_seen, new_seen, part);
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
