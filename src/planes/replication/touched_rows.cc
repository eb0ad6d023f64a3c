#include "planes/replication/touched_rows.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace banyan::replication {
namespace {

constexpr int kShiftTold = 40;               // wider ranges hold more rows than any table
constexpr std::size_t kEntryOverhead = 100;  // of a key in memory, beside its text

// The number that is written so, and only so.
std::optional<std::int64_t> number_of(const TouchedRows::Key& key) {
  if (key.size() != 1) return std::nullopt;
  const auto& text = key.front();
  std::int64_t number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_whole = wrong == std::errc() && end == text.data() + text.size();
  if (!is_whole || std::to_string(number) != text) return std::nullopt;
  return number;
}

// Of characters: a database may hold any bytes, the kept form holds UTF-8.
bool can_be_kept(const TouchedRows::Key& key) {
  const auto text =
      nlohmann::json(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.find("\xEF\xBF\xBD") == std::string::npos;
}

// Texts of PostgreSQL hold no zero bytes.
std::string joined(const TouchedRows::Key& key) {
  std::string parts;
  for (const auto& part : key) parts.append(part).push_back('\0');
  return parts;
}

TouchedRows::Key parts_of(const std::string& joined) {
  TouchedRows::Key key;
  for (std::size_t at = 0; at < joined.size(); at += key.back().size() + 1) {
    key.emplace_back(joined.c_str() + at);
  }
  return key;
}

}  // namespace

bool TouchedRows::add(const Key& key, Kind kind, Moment now) {
  if (all_) return add_all(now);
  if (kind == Kind::kOther && ranges_.empty()) return add_other(key, now);
  const auto number = kind == Kind::kNumber ? number_of(key) : std::nullopt;
  if (!number || !keys_.empty()) return add_all(now);
  return add_number(*number, now);
}

bool TouchedRows::add_other(const Key& key, Moment now) {
  const auto [entry, is_new] = keys_.insert_or_assign(joined(key), now);
  if (!is_new) return false;
  if (!can_be_kept(key)) return add_all(now);
  key_bytes_ += entry->first.size() + kEntryOverhead;
  return true;
}

bool TouchedRows::add_number(std::int64_t number, Moment now) {
  const bool is_new = ranges_.insert_or_assign(number >> shift_, now).second;
  if (ranges_.size() > kRangesMost) widen();
  return is_new;
}

// To half of what may be, so that it is not done again soon.
void TouchedRows::widen() {
  while (ranges_.size() > kRangesMost / 2) {
    ++shift_;
    std::unordered_map<std::int64_t, Moment> wider;
    for (const auto& [place, moment] : ranges_) {
      auto& last = wider.try_emplace(place >> 1, moment).first->second;
      last = std::max(last, moment);
    }
    ranges_ = std::move(wider);
  }
}

bool TouchedRows::add_all(Moment now) {
  const bool is_new = !all_;
  all_ = now;
  keys_ = {};
  key_bytes_ = 0;
  ranges_.clear();
  return is_new;
}

void TouchedRows::settle(Moment moment) {
  std::erase_if(keys_, [&](const auto& entry) {
    const bool is_settled = entry.second < moment;
    if (is_settled) key_bytes_ -= entry.first.size() + kEntryOverhead;
    return is_settled;
  });
  std::erase_if(ranges_, [&](const auto& entry) { return entry.second < moment; });
  if (all_ && *all_ < moment) all_.reset();
  if (ranges_.empty()) shift_ = 0;
}

std::optional<std::int64_t> TouchedRows::rows_at_most() const {
  if (all_ || shift_ > kShiftTold) return std::nullopt;
  return static_cast<std::int64_t>(keys_.size() + (ranges_.size() << shift_));
}

std::optional<std::vector<TouchedRows::Key>> TouchedRows::keys() const {
  if (all_ || shift_ > 0) return std::nullopt;
  std::vector<Key> keys;
  for (const auto& [key, moment] : keys_) keys.push_back(parts_of(key));
  for (const auto& [number, moment] : ranges_) keys.push_back({std::to_string(number)});
  std::ranges::sort(keys);
  return keys;
}

std::vector<TouchedRows::Range> TouchedRows::ranges() const {
  std::vector<std::int64_t> places;
  for (const auto& [place, moment] : ranges_) places.push_back(place);
  std::ranges::sort(places);
  std::vector<Range> ranges;
  std::optional<std::int64_t> last;
  for (const auto place : places) {
    const std::int64_t from = place * (std::int64_t{1} << shift_);
    const std::int64_t to = from + ((std::int64_t{1} << shift_) - 1);
    const bool follows = last && place == *last + 1;
    if (follows) ranges.back().second = to;
    if (!follows) ranges.emplace_back(from, to);
    last = place;
  }
  return ranges;
}

nlohmann::json TouchedRows::to_json() const {
  nlohmann::json kept = {{"all", is_all()}, {"shift", shift_}};
  auto& keys = kept["keys"] = nlohmann::json::array();
  for (const auto& [key, moment] : keys_) keys.push_back(parts_of(key));
  auto& places = kept["places"] = nlohmann::json::array();
  for (const auto& [place, moment] : ranges_) places.push_back(place);
  return kept;
}

TouchedRows TouchedRows::from_json(const nlohmann::json& kept) {
  TouchedRows rows;
  if (kept.value("all", true)) rows.all_ = 0;
  rows.shift_ = kept.value("shift", 0);
  for (const auto& key : kept.value("keys", nlohmann::json::array())) {
    rows.add_other(key.get<Key>(), 0);
  }
  for (const auto place : kept.value("places", std::vector<std::int64_t>()))
    rows.ranges_[place] = 0;
  return rows;
}

}  // namespace banyan::replication
