#pragma once
// GatewayMetrics: one worker's counters, a plain value. A scrape copies every worker's (on that
// worker's thread), merges the copies and writes Prometheus text. No locks, no atomics.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "planes/gateway/hold.h"
#include "wire/http/desync.h"

namespace banyan::gateway {

// Log-linear: 8 steps per power of two from 1 µs to about 19 hours; relative error below 7 %.
class DurationHistogram {
 public:
  void record(Duration duration);
  void merge(const DurationHistogram& other);
  std::uint64_t count() const { return count_; }
  double sum_seconds() const { return static_cast<double>(sum_us_) / 1e6; }
  // How many were at most `bound`, to the precision of a bucket.
  std::uint64_t count_up_to(Duration bound) const;
  // The value below which a share `quantile` (0..1) of the recorded lies.
  Duration quantile(double quantile) const;

 private:
  static constexpr std::size_t kStepsLog2 = 3;
  static constexpr std::size_t kBuckets = 34 << kStepsLog2;
  static std::size_t bucket_of(std::uint64_t us);
  static std::uint64_t upper_us(std::size_t bucket);

  std::array<std::uint32_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_us_ = 0;
};

// Of one route; the label is the route's id.
struct RouteMetrics {
  std::array<std::uint64_t, 6> by_class{};  // [2]: 2xx, [5]: 5xx, [0]: no response
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  DurationHistogram took;
  void merge(const RouteMetrics& other);
};

struct GatewayMetrics {
  // More routes than these, of all snapshots since the start, are counted together as kOtherRoutes.
  static constexpr std::size_t kRoutesMax = 1000;
  static constexpr std::string_view kOtherRoutes = "(other)";

  // Requests answered, per route id; "" is "no route matched".
  std::map<std::string, RouteMetrics, std::less<>> routes;
  std::map<int, std::uint64_t> own_replies;                   // made by the gateway, by status
  std::map<std::string, std::uint64_t, std::less<>> refused;  // malformed requests, by reason
  std::array<std::uint64_t, http::kDesyncClasses> desync{};   // requests by class
  std::uint64_t connections_accepted = 0;
  std::int64_t connections_open = 0;
  std::uint64_t upstream_connects = 0;
  std::uint64_t upstream_connect_failures = 0;
  std::uint64_t upstream_reuses = 0;
  std::uint64_t retries = 0;
  std::uint64_t rehomed = 0;  // streams ended because their route leads elsewhere
  std::uint64_t spans_exported = 0;
  std::uint64_t spans_dropped = 0;
  std::uint64_t fallbacks = 0;  // requests sent to another backend because theirs did not answer
  DurationHistogram held;
  DurationHistogram upstream_connect;

  // Where the request's bytes are counted too.
  RouteMetrics& count_request(std::string_view route, int status, Duration took);
  RouteMetrics& of_route(std::string_view id);
  void count_own_reply(int status) { ++own_replies[status]; }
  void count_refused(std::string_view reason);
  void count_desync(http::Desync level) { ++desync[static_cast<std::size_t>(level)]; }
  std::uint64_t requests_total() const;
  std::uint64_t failures_total() const;  // own replies >= 500
  void merge(const GatewayMetrics& other);
};

struct EndpointGauge {
  std::string backend;
  std::string address;
  bool healthy = true;
  std::int64_t active = 0;
  std::uint64_t requests = 0;
};

struct BackendGauge {
  bool panic = false;  // on one worker at least: health is not believed
  std::int64_t inside = 0;
  std::int64_t waiting = 0;
  std::uint64_t shed = 0;  // sent away because it was full
  std::uint64_t retries_refused = 0;
  std::uint64_t ejections = 0;
  BackendGauge& operator+=(const BackendGauge& other);
};
using BackendGauges = std::map<std::string, BackendGauge>;

// Prometheus text exposition format 0.0.4.
std::string prometheus_text(const GatewayMetrics& metrics, const HoldStats& hold,
                            const std::vector<EndpointGauge>& endpoints,
                            const BackendGauges& backends = {});

}  // namespace banyan::gateway
