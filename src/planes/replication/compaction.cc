#include "planes/replication/compaction.h"

#include <algorithm>

namespace banyan::replication {
namespace {

using pg::CellKind;

bool is_unchanged(const pg::Cell& cell) {
  return cell.kind == CellKind::kUnchangedToast;
}

bool is_complete(const pg::Tuple& row) {
  return std::ranges::none_of(row, is_unchanged);
}

void append_part(std::string& key, std::string_view part) {
  const auto length = static_cast<std::uint32_t>(part.size());
  key.append(reinterpret_cast<const char*>(&length), sizeof(length));
  key.append(part);
}

}  // namespace

KeyIndex::Slot& KeyIndex::slot_of(std::string_view key, std::size_t hash) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].is_used && (slots_[at].hash != hash || slots_[at].key != key)) {
    at = (at + 1) & mask;
  }
  return slots_[at];
}

std::pair<std::size_t, bool> KeyIndex::find_or_add(std::string_view key, std::size_t place) {
  if (used_ * 2 >= slots_.size()) grow();
  const auto hash = std::hash<std::string_view>{}(key);
  auto& slot = slot_of(key, hash);
  if (slot.is_used) return {slot.place, false};
  slot = {.key = key, .hash = hash, .place = place, .is_used = true};
  ++used_;
  return {place, true};
}

void KeyIndex::grow() {
  const auto before =
      std::exchange(slots_, std::vector<Slot>(std::max<std::size_t>(64, slots_.size() * 2)));
  for (const auto& slot : before) {
    if (slot.is_used) slot_of(slot.key, slot.hash) = slot;
  }
}

// One large batch must not make every later one pay for its size.
void KeyIndex::clear() {
  if (slots_.size() > 64 && used_ * 16 < slots_.size()) {
    slots_.clear();
  } else {
    std::ranges::fill(slots_, Slot());
  }
  used_ = 0;
}

void Compaction::clear() {
  rows_.clear();
  index_.clear();
  merged_.clear();
  long_keys_.clear();
}

bool Compaction::key_of(const pg::Tuple& row) {
  if (key_.empty()) return false;
  for (const std::size_t i : key_) {
    if (i >= row.size() || row[i].kind != CellKind::kText) return false;
  }
  if (key_.size() == 1) {
    wanted_ = row[key_[0]].bytes;
    return true;
  }
  std::string key;
  for (const std::size_t i : key_) append_part(key, row[i].bytes);
  wanted_ = long_keys_.emplace_back(std::move(key));
  return true;
}

NetChange* Compaction::find(const pg::Tuple& row, bool is_there_if_new) {
  if (!key_of(row)) return nullptr;
  const auto [place, is_new] = index_.find_or_add(wanted_, rows_.size());
  if (!is_new && key_.size() > 1) long_keys_.pop_back();
  if (is_new) {
    rows_.push_back({.key = &row, .was_there = is_there_if_new, .is_there = is_there_if_new});
  }
  return &rows_[place];
}

const pg::Tuple* Compaction::merge(const pg::Tuple* before, const pg::Tuple& after) {
  if (before == nullptr || is_complete(after)) return &after;
  auto& merged = merged_.emplace_back(after);
  for (std::size_t i = 0; i < merged.size(); ++i) {
    if (is_unchanged(merged[i])) merged[i] = (*before)[i];
  }
  return &merged;
}

bool Compaction::add(const Change& change) {
  switch (change.operation) {
    case Operation::kInsert:
      return insert(change.row);
    case Operation::kUpdate:
      return update(change);
    case Operation::kDelete:
      return remove(change);
    case Operation::kTruncate:
      break;
  }
  return false;
}

bool Compaction::insert(const pg::Tuple& row) {
  if (key_.empty()) {
    rows_.push_back({.key = &row, .row = &row, .is_there = true, .is_whole = true});
    return is_complete(row);
  }
  NetChange* net = find(row, false);
  if (net == nullptr || net->is_there || !is_complete(row)) return false;
  net->is_there = true;
  net->is_whole = true;
  net->row = &row;
  return true;
}

bool Compaction::is_moved(const Change& change) const {
  if (change.old_row.empty()) return false;
  return std::ranges::any_of(key_, [&](std::size_t i) {
    return i >= change.old_row.size() || i >= change.row.size() ||
           change.old_row[i] != change.row[i];
  });
}

bool Compaction::update(const Change& change) {
  const bool moves = is_moved(change);
  NetChange* net = find(moves ? change.old_row : change.row, true);
  if (net == nullptr || !net->is_there) return false;
  if (moves) return move(change, *net);
  if (net->row != nullptr && net->row->size() != change.row.size()) return false;
  net->row = merge(net->row, change.row);
  return true;
}

bool Compaction::move(const Change& change, NetChange& from) {
  const bool has_old = change.old_kind == pg::message::OldRow::kFull;
  const auto* before = from.row != nullptr ? from.row : has_old ? &change.old_row : nullptr;
  if (before != nullptr && before->size() != change.row.size()) return false;
  const auto* row = merge(before, change.row);
  from.is_there = false;
  from.is_whole = false;
  from.row = nullptr;
  return insert(*row);
}

bool Compaction::remove(const Change& change) {
  NetChange* net = find(change.old_row, true);
  if (net == nullptr || !net->is_there) return false;
  net->is_there = false;
  net->is_whole = false;
  net->row = nullptr;
  return true;
}

}  // namespace banyan::replication
