#pragma once
// Proof: which tables were seen equal on both sides, at which position, and which of their rows
// were written since. A row that the proof holds was equal then, and neither stream has written it
// since; whoever else wrote on the passive side is found by comparing everything only.
//
//   unproven ──compared whole, equal──► proven ──a row is applied──► proven but for these rows
//      ▲                                   ▲   compared again, equal        │
//      └───different; the stream was begun anew or applied by others────────┘
//
// Kept in one file that is written ahead: a row is on disk as touched before the transaction that
// writes it commits, so after a kill at any moment nothing touched is believed. A lost file means
// that nothing is proven, as does a disk without room for it. Tables are named as on the old side,
// whichever direction a stream or a comparison has.
//
// Of every table, proven or not, the keys touched last are known: what the pause of a switch looks
// at. Any thread.

#include <deque>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"
#include "planes/replication/touched_rows.h"

namespace banyan::replication {

// Rows of one table that are about to be written.
struct TableTouch {
  std::vector<std::string> columns{};  // of the key, on the old side
  TouchedRows::Kind kind = TouchedRows::Kind::kOther;
  std::vector<TouchedRows::Key> keys{};  // the last ones at the end
  bool is_all = false;
};

struct TableProof {
  std::string shape;  // of the table on both sides; in another shape it is not proven; empty: never
  std::int64_t rows = 0;
  std::string position;  // of the side that was active then
  std::int64_t at_ms = 0;
  std::vector<std::string> columns{};  // of the key of `touched`
  TouchedRows touched{};
  Moment differed = 0;  // a comparison begun before says nothing; not kept
  bool is_proven() const { return !shape.empty(); }
};

// The same, told to people.
struct ProofStanding {
  std::int64_t rows = 0;
  std::int64_t unproven_rows = 0;  // at most
  std::string position;
  std::int64_t at_ms = 0;
};

// What a comparison found of a table.
struct TableFinding {
  bool is_equal = false;
  bool is_whole = false;  // every row was compared
  std::string shape;
  std::int64_t rows = 0;  // that were compared
};

class Proof {
 public:
  static constexpr std::size_t kLastKeys = 200;             // of a table
  static constexpr std::size_t kKeyBytesMost = 32U << 20U;  // of all touched keys

  // Beyond `key_bytes_most` the table with the most touched keys counts as touched wholly.
  explicit Proof(std::filesystem::path file, std::size_t key_bytes_most = kKeyBytesMost);
  ~Proof();
  Proof(const Proof&) = delete;
  Proof& operator=(const Proof&) = delete;

  // An applier has claimed the progress of this stream: when it is not the next one after the last,
  // others have applied in between, and nothing is proven.
  Result<void> claimed(const std::string& stream, std::int64_t epoch);
  // True while every key that is touched matters, not only the last ones.
  bool is_watching() const;
  // Before the rows are written.
  Result<void> touch(const std::map<std::string, TableTouch>& tables);

  // While nothing is applied and both sides stand still: a comparison of what is there begins.
  Moment open();
  // It ends; `findings` by table. What was touched since it began stays so.
  void close(Moment begun, const std::map<std::string, TableFinding>& findings,
             const std::string& position);
  // Only what is proven.
  std::optional<TableProof> table(const std::string& name) const;
  std::map<std::string, ProofStanding> standing() const;
  // What was touched last of a table and not settled since.
  struct LastTouched {
    std::vector<std::string> columns{};
    TouchedRows touched{};
  };
  LastTouched last_touched(const std::string& name) const;

  // The last act whose opening is proven.
  std::int64_t epoch() const;
  void set_epoch(std::int64_t epoch);

 private:
  struct LastKeys {
    std::vector<std::string> columns;
    TouchedRows::Kind kind = TouchedRows::Kind::kOther;
    std::deque<std::pair<Moment, TouchedRows::Key>> keys;
  };
  struct State {
    std::map<std::string, TableProof> tables;  // not proven ones only while a comparison is open
    std::map<std::string, LastKeys> last;
    std::map<std::string, std::int64_t> claims;
    std::int64_t epoch = 0;
    Moment now = 0;
    Moment forgotten = 0;  // comparisons begun before say nothing
    std::multiset<Moment> open;
    int file = -1;
    bool is_stale = false;  // the file says more than is true, and must go before anything else
  };
  void load(State& state) const;
  static void remember(LastKeys& last, const TableTouch& touch, Moment now);
  Result<void> bound(State& state, Moment now) const;
  // The file is there with this line too, or not at all.
  Result<void> append(State& state, const nlohmann::json& line) const;
  Result<void> forget(State& state, std::string_view why) const;
  // The file anew, with what is known now; none when that fails.
  void rewrite(State& state) const;
  void leave_none(State& state, const Error& why) const;

  const std::filesystem::path path_;
  const std::size_t key_bytes_most_;
  mutable Guarded<State> state_;
};

}  // namespace banyan::replication
