#pragma once
// DirtyPaths: which paths differ, or may differ, between the two sides, and who works on them.
//
//            mark              take              settle
//   (clean) ------> waiting ---------> in hand ----------> (clean)
//                      ^                  | marked meanwhile, or settled with "again"
//                      +------------------+
//
// A path is in at most one hand at a time, so its changes are carried out in order. Every mark has
// a number; "everything marked up to n is carried over" is what a barrier waits for. Thread-safe.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"

namespace banyan::files {

struct DirtyTask {
  std::string path;
  int attempts = 0;
  Duration age{0};  // since it was marked
};

struct DirtyStats {
  std::size_t paths = 0;
  std::int64_t new_files = 0;  // not known to the manifest when marked
  std::int64_t bytes = 0;      // as far as known
  Duration oldest{0};
};

struct DirtyMark {
  std::int64_t bytes = 0;
  bool is_new = false;
};

class DirtyPaths {
 public:
  explicit DirtyPaths(const Clock& clock) : clock_(clock) {}

  void mark(const std::string& path, const DirtyMark& mark = {});
  // The next path that is due; nothing when `timeout` passed.
  std::optional<DirtyTask> take(Duration timeout);
  // The path is the same on both sides as of when it was taken.
  void settle(const std::string& path);
  // It is not, try again after `pause`.
  void retry(const std::string& path, Duration pause);

  DirtyStats stats() const;
  bool is_dirty(const std::string& path) const;
  std::size_t size() const;
  // The number of the newest mark.
  std::int64_t newest_mark() const;
  // False when `timeout` passed before everything marked up to `mark` was settled.
  bool wait_settled(std::int64_t mark, Duration timeout);
  // One path marked up to `mark` that is not settled, for messages.
  std::optional<std::string> unsettled(std::int64_t mark) const;
  void clear();

 private:
  struct Entry {
    std::int64_t mark = 0;        // the oldest mark not carried over
    std::int64_t mark_again = 0;  // the oldest one since it was taken; 0: none
    Mono since;
    DirtyMark about;
    int attempts = 0;
    bool in_hand = false;
  };
  struct State {
    std::unordered_map<std::string, Entry> entries;
    std::multimap<Mono, std::string> due;
    std::map<std::int64_t, std::string> by_mark;  // oldest first
    DirtyStats sums;
    std::int64_t marks = 0;
  };
  static bool is_settled(const State& state, std::int64_t mark);
  static void subtract(State& state, const Entry& entry);

  const Clock& clock_;
  Guarded<State> state_;
};

}  // namespace banyan::files
