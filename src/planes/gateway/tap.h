#pragma once
// Tap: the requests as they end, for somebody who looks on. While nobody does it costs a
// comparison. What is not fetched in time is dropped and counted. Belongs to one worker; one
// onlooker at a time.

#include <cstdint>
#include <string>
#include <vector>

#include "planes/gateway/access_line.h"

namespace banyan::gateway {

struct TapFilter {
  std::string route = {};  // id; empty: any
  int status = 0;          // 404, or 4 for 4xx; 0: any
  bool matches(std::string_view of_route, int with_status) const;
};

struct TapLines {
  std::vector<std::string> lines;  // JSON
  std::uint64_t dropped = 0;
};

class Tap {
 public:
  static constexpr std::size_t kLinesMax = 1000;

  explicit Tap(const Clock& clock) : format_(clock) {}
  void watch(TapFilter filter, Mono until);
  bool is_watched(Mono now) const { return now < until_; }
  void note(const AccessEntry& entry);
  // What came since the last call.
  TapLines take();

 private:
  AccessLine format_;
  TapFilter filter_;
  Mono until_{};
  TapLines waiting_;
};

}  // namespace banyan::gateway
