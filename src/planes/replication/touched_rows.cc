#include "planes/replication/touched_rows.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace banyan::replication {
namespace {

constexpr int kShiftTold = 40;  // wider ranges hold more rows than any table

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

// Short, and of characters: a database may hold any bytes, the kept form holds UTF-8.
bool can_be_kept(const TouchedRows::Key& key) {
  std::size_t bytes = 0;
  for (const auto& part : key) bytes += part.size();
  if (bytes > TouchedRows::kKeyBytesMost) return false;
  const auto text =
      nlohmann::json(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.find("\xEF\xBF\xBD") == std::string::npos;
}

template <class Entries>
void forget_before(Entries& entries, Moment moment) {
  std::erase_if(entries, [&](const auto& entry) { return entry.second < moment; });
}

}  // namespace

bool TouchedRows::add(const Key& key, Moment now) {
  if (all_) return add_all(now);
  const auto number = number_of(key);
  if (number && keys_.empty()) return add_number(*number, now);
  if (!ranges_.empty() || !can_be_kept(key)) return add_all(now);
  const bool is_new = keys_.insert_or_assign(key, now).second;
  if (keys_.size() > kMost) add_all(now);
  return is_new;
}

bool TouchedRows::add_number(std::int64_t number, Moment now) {
  const bool is_new = ranges_.insert_or_assign(number >> shift_, now).second;
  if (ranges_.size() > kMost) widen();
  return is_new;
}

// To half of what may be, so that it is not done again soon.
void TouchedRows::widen() {
  while (ranges_.size() > kMost / 2) {
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
  keys_.clear();
  ranges_.clear();
  return is_new;
}

void TouchedRows::settle(Moment moment) {
  forget_before(keys_, moment);
  forget_before(ranges_, moment);
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
  for (const auto& [key, moment] : keys_) keys.push_back(key);
  for (const auto& [number, moment] : ranges_) keys.push_back({std::to_string(number)});
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
  for (const auto& [key, moment] : keys_) keys.push_back(key);
  auto& places = kept["places"] = nlohmann::json::array();
  for (const auto& [place, moment] : ranges_) places.push_back(place);
  return kept;
}

TouchedRows TouchedRows::from_json(const nlohmann::json& kept) {
  TouchedRows rows;
  if (kept.value("all", true)) rows.all_ = 0;
  rows.shift_ = kept.value("shift", 0);
  for (const auto& key : kept.value("keys", std::vector<Key>())) rows.keys_[key] = 0;
  for (const auto place : kept.value("places", std::vector<std::int64_t>()))
    rows.ranges_[place] = 0;
  return rows;
}

}  // namespace banyan::replication
