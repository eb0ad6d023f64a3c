#pragma once
// TouchedRows: which rows of one table were written since it was last compared. Never fewer than
// were, and bounded. Pure.
//
//   whole numbers: one by one ──too many──► ranges of 2^n keys, n growing
//   other keys:    one by one ──too many, by whoever bounds key_bytes()──► every row
//
// Each entry knows the moment of its last touch, so a comparison that began while rows were written
// settles only what was touched before it began.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace banyan::replication {

// Counts touches and comparisons; rises.
using Moment = std::int64_t;

class TouchedRows {
 public:
  using Key = std::vector<std::string>;                 // texts of the key's columns
  using Range = std::pair<std::int64_t, std::int64_t>;  // both ends included
  enum class Kind : std::uint8_t { kNumber, kOther };   // what the table's key is
  static constexpr std::size_t kRangesMost = 16'384;

  // True when this was not known before.
  bool add(const Key& key, Kind kind, Moment now);
  bool add_all(Moment now);
  // Forgets what was not touched since `moment`.
  void settle(Moment moment);

  bool empty() const { return !all_ && keys_.empty() && ranges_.empty(); }
  bool is_all() const { return all_.has_value(); }
  // How many rows that are at most; nothing: as many as there are.
  std::optional<std::int64_t> rows_at_most() const;
  // One by one; nothing when they are not known so any more.
  std::optional<std::vector<Key>> keys() const;
  // Of keys that are whole numbers; ascending, apart from one another.
  std::vector<Range> ranges() const;
  // About what the keys that are no numbers take in memory.
  std::size_t key_bytes() const { return key_bytes_; }

  nlohmann::json to_json() const;
  // What was last touched before any moment.
  static TouchedRows from_json(const nlohmann::json& kept);

 private:
  bool add_number(std::int64_t number, Moment now);
  bool add_other(const Key& key, Moment now);
  void widen();

  std::optional<Moment> all_;
  std::unordered_map<std::string, Moment> keys_;  // the parts end with a zero byte each
  std::size_t key_bytes_ = 0;
  std::unordered_map<std::int64_t, Moment> ranges_;  // by number / 2^shift
  int shift_ = 0;
};

}  // namespace banyan::replication
