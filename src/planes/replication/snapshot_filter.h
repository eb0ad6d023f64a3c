#pragma once
// SnapshotFilter: which transactions a snapshot has seen. A table copied under its own snapshot
// already holds the changes of exactly these; the stream's others are applied.

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace banyan::replication {

class SnapshotFilter {
 public:
  // From the text of pg_current_snapshot(): "xmin:xmax:xid,xid".
  static Result<SnapshotFilter> parse(std::string_view text);
  // `xid` as the stream names it, 32 bits; it is taken as the nearest to xmax.
  bool has_seen(std::uint32_t xid) const { return has_seen_full(full(xid)); }
  bool has_seen_full(std::uint64_t xid) const;
  // True when everything `earlier` has seen is seen by this one too.
  bool includes(const SnapshotFilter& earlier) const;

 private:
  std::uint64_t full(std::uint32_t xid) const;
  std::uint64_t xmin_ = 0;
  std::uint64_t xmax_ = 0;
  std::vector<std::uint64_t> in_progress_;  // sorted
};

}  // namespace banyan::replication
