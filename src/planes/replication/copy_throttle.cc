#include "planes/replication/copy_throttle.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "planes/replication/back_off.h"
#include "wire/pg/connection.h"

namespace banyan::replication {
namespace {

constexpr auto kProbeEvery = 1s;
constexpr std::size_t kProbesKept = 20;
constexpr auto kRateOver = 60s;

// 95 of 100 probes were quicker.
Duration slow_probe(std::deque<Duration> probes) {
  std::ranges::sort(probes);
  return probes[probes.size() * 95 / 100];
}

// Watches one source; a probe that fails says nothing: the copy itself will notice.
class Probe {
 public:
  Probe(const std::string& url, CopyThrottle& throttle) : url_(url), throttle_(throttle) {}

  void run() {
    if (!session_ || !session_->is_alive()) {
      auto opened = pg::Connection::open(url_, {.application_name = "banyan_guard"});
      if (!opened) return;
      session_ = std::move(*opened);
    }
    look_at_latency(throttle_.limits().source_latency);
    look_at_standbys(throttle_.limits().replica_lag);
  }

 private:
  void look_at_latency(Duration limit) {
    const auto begun = SystemClock().now();
    if (!session_->query("select 1 from pg_catalog.pg_class limit 1")) return;
    probes_.push_back(SystemClock().now() - begun);
    if (probes_.size() > kProbesKept) probes_.pop_front();
    const auto slow = slow_probe(probes_);
    const bool suffers = limit > 0ms && probes_.size() >= 5 && slow > limit;
    throttle_.hold(
        "latency",
        suffers ? fmt::format("the source takes {} ms for a small query", to_ms(slow)) : "");
  }

  void look_at_standbys(Duration limit) {
    auto rows = session_->query(
        "select coalesce(max(extract(epoch from replay_lag) * 1000), 0)::bigint from "
        "pg_catalog.pg_stat_replication where application_name !~ '^banyan' and replay_lag is not "
        "null");
    if (!rows) return;
    const auto lag = std::chrono::milliseconds(rows->integer(0, 0));
    throttle_.hold("standby", limit > 0ms && lag > limit
                                  ? fmt::format("a standby is {} ms behind", lag.count())
                                  : "");
  }

  const std::string& url_;
  CopyThrottle& throttle_;
  std::optional<pg::Connection> session_;
  std::deque<Duration> probes_;
};

}  // namespace

void CopyThrottle::take(std::size_t bytes, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const auto now = SystemClock().now();
    const auto wait = state_.with([&](State& state) -> Duration {
      if (!state.reasons.empty()) return 100ms;
      if (state.limits.bytes_per_s <= 0) return 0ms;
      if (state.free_at > now) return std::min<Duration>(state.free_at - now, 100ms);
      const auto cost = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
          static_cast<double>(bytes) / static_cast<double>(state.limits.bytes_per_s)));
      state.free_at = std::max(state.free_at, now) + cost;
      return 0ms;
    });
    if (wait == 0ms) return;
    sleep_unless_stopped(stop, wait);
    state_.with([&](State& state) { state.waited += wait; });
  }
}

void CopyThrottle::set_limits(const ThrottleLimits& limits) {
  state_.with([&](State& state) {
    state.limits = limits;
    state.free_at = {};
  });
}

ThrottleLimits CopyThrottle::limits() const {
  return state_.with([](const State& state) { return state.limits; });
}

void CopyThrottle::hold(const std::string& who, const std::string& reason) {
  state_.with([&](State& state) {
    if (reason.empty()) {
      state.reasons.erase(who);
    } else {
      state.reasons[who] = reason;
    }
  });
}

nlohmann::json CopyThrottle::status() const {
  return state_.with([](const State& state) {
    nlohmann::json reasons = nlohmann::json::array();
    for (const auto& [who, reason] : state.reasons) reasons.push_back(reason);
    return nlohmann::json{{"held", !state.reasons.empty()},
                          {"reasons", std::move(reasons)},
                          {"bytes_per_s", state.limits.bytes_per_s},
                          {"source_latency_ms", to_ms(state.limits.source_latency)},
                          {"replica_lag_ms", to_ms(state.limits.replica_lag)},
                          {"waited_ms", to_ms(state.waited)}};
  });
}

void guard_source(const std::string& source_url, CopyThrottle& throttle,
                  const std::stop_token& stop) {
  Probe probe(source_url, throttle);
  while (!stop.stop_requested()) {
    probe.run();
    sleep_unless_stopped(stop, kProbeEvery);
  }
  throttle.hold("latency", "");
  throttle.hold("standby", "");
}

void CopyRate::note(Mono now, std::int64_t bytes, std::int64_t rows) {
  samples_.push_back({now, bytes, rows});
  while (samples_.size() > 2 && now - samples_.front().at > kRateOver) samples_.pop_front();
}

CopyRate::PerSecond CopyRate::per_second() const {
  if (samples_.size() < 2) return {};
  const auto& first = samples_.front();
  const auto& last = samples_.back();
  const double seconds = std::chrono::duration<double>(last.at - first.at).count();
  if (seconds <= 0) return {};
  return {static_cast<double>(last.bytes - first.bytes) / seconds,
          static_cast<double>(last.rows - first.rows) / seconds};
}

}  // namespace banyan::replication
