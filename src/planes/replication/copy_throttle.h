#pragma once
// CopyThrottle: how fast a copy may read its source. A limit by hand, and holds: the copy stands
// still while there is a reason to. CopyGuard finds such reasons: a source that answers slowly, a
// standby that falls behind. Both are told in `status`. Any thread.

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/guarded.h"

namespace banyan::replication {

struct ThrottleLimits {
  std::int64_t bytes_per_s = 0;     // 0: none
  Duration source_latency = 250ms;  // of a small query, 95th percentile; 0: not looked at
  Duration replica_lag = 30s;       // of the source's standbys; 0: not looked at
};

class CopyThrottle {
 public:
  // Waits until `bytes` more may be copied, or until `stop`.
  void take(std::size_t bytes, const std::stop_token& stop);
  void set_limits(const ThrottleLimits& limits);
  ThrottleLimits limits() const;
  // Why the copy stands still, by who says so; an empty reason takes it back.
  void hold(const std::string& who, const std::string& reason);
  nlohmann::json status() const;

 private:
  struct State {
    ThrottleLimits limits;
    std::map<std::string, std::string> reasons;
    Mono free_at{};  // when the limit allows the next bytes
    Duration waited{};
  };
  mutable Guarded<State> state_;
};

// Probes the source until `stop`, once a second, and holds the throttle while it suffers.
void guard_source(const std::string& source_url, CopyThrottle& throttle,
                  const std::stop_token& stop);

// Bytes and rows per second over the last minute. One writer.
class CopyRate {
 public:
  void note(Mono now, std::int64_t bytes, std::int64_t rows);
  struct PerSecond {
    double bytes = 0;
    double rows = 0;
  };
  PerSecond per_second() const;

 private:
  struct Sample {
    Mono at{};
    std::int64_t bytes = 0;
    std::int64_t rows = 0;
  };
  std::deque<Sample> samples_;
};

}  // namespace banyan::replication
