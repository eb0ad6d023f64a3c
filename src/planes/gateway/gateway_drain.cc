// Gateway, taking out of service: one endpoint, or itself.

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "planes/gateway/gateway.h"

namespace banyan::gateway {
namespace {

constexpr Duration kPoll = 10ms;
constexpr Duration kIdleGrace = 300ms;  // idle clients may still send, and are then told to close
constexpr Duration kIdleSpread = 1s;    // over which those that stay idle are closed
constexpr Duration kEndTime = 5s;       // for sessions that were cancelled

}  // namespace

void Gateway::set_draining(const EndpointName& endpoint, bool draining, Duration at_most) {
  threads_->run_on_all(
      [&](std::size_t i) { workers_[i]->set_draining(endpoint, draining, at_most); });
}

std::int64_t Gateway::active_in(const EndpointName& endpoint) {
  std::int64_t active = 0;
  for (const EndpointReport& known : report().endpoints)
    if (known.backend == endpoint.backend && known.gauge.address == endpoint.address)
      active += known.gauge.active;
  return active;
}

// Recorded before it is done: what is out stays out when the gateway dies now.
Result<void> Gateway::record_draining(const EndpointName& endpoint, bool draining,
                                      Duration at_most) {
  return current_.with([&](Current& current) -> Result<void> {
    if (!current.routing || !current.routing->snapshot.has(endpoint))
      return failure(Code::kNotFound, fmt::format("backend {} has no endpoint {}", endpoint.backend,
                                                  endpoint.address));
    Current next = current;
    if (draining)
      next.draining.insert(endpoint);
    else
      next.draining.erase(endpoint);
    TRY_VOID(persist(next));
    current = next;
    set_draining(endpoint, draining, at_most);
    return {};
  });
}

Result<std::int64_t> Gateway::drain_endpoint(const EndpointName& endpoint, Duration timeout) {
  TRY_VOID(record_draining(endpoint, true, timeout));
  const Mono deadline = clock_.now() + timeout;
  std::int64_t active = active_in(endpoint);
  while (active > 0 && clock_.now() < deadline) {
    std::this_thread::sleep_for(kPoll);
    active = active_in(endpoint);
  }
  return active;
}

Result<void> Gateway::undrain_endpoint(const EndpointName& endpoint) {
  return record_draining(endpoint, false);
}

std::size_t Gateway::sessions() {
  std::vector<std::size_t> counts(workers_.size());
  threads_->run_on_all([&](std::size_t i) { counts[i] = workers_[i]->sessions(); });
  std::size_t sum = 0;
  for (const std::size_t count : counts) sum += count;
  return sum;
}

void Gateway::wait_for_sessions(Duration at_most) {
  const Mono begin = clock_.now();
  while (sessions() > 0 && clock_.now() - begin < at_most) {
    const Duration idle_for = clock_.now() - begin - kIdleGrace;
    const double share = std::chrono::duration<double>(idle_for) / kIdleSpread;
    if (share > 0)
      threads_->run_on_all([&](std::size_t i) { workers_[i]->close_idle_sessions(share); });
    std::this_thread::sleep_for(kPoll);
  }
}

void Gateway::drain() {
  if (std::exchange(drained_, true)) return;
  const Duration drain_time = current_.with([](const Current& current) -> Duration {
    return current.routing ? current.routing->snapshot.limits.drain_ms : 0ms;
  });
  threads_->run_on_all([&](std::size_t i) { workers_[i]->drain(); });
  wait_for_sessions(drain_time);
  if (const std::size_t left = sessions(); left > 0)
    log_warn("ending requests that did not finish in time", {{"connections", left}});
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->hold().stop();
    workers_[i]->cancel_sessions();
  });
  wait_for_sessions(kEndTime);
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->stop();
    if (i == 0) health_->stop();
  });
  bool stopped = false;
  while (!stopped) {
    std::vector<char> each(workers_.size());
    threads_->run_on_all([&](std::size_t i) {
      each[i] = workers_[i]->stopped() && (i != 0 || health_->stopped()) ? 1 : 0;
    });
    stopped = std::ranges::find(each, 0) == each.end();
    if (!stopped) std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace banyan::gateway
