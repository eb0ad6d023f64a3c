// Gateway, the gate of all workers as one: closed, committed, opened.

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "planes/gateway/gateway.h"

namespace banyan::gateway {

// An order that was sent to a process that was stopped may arrive when another act is under way.
Result<void> Gateway::refuse_stale(const Current& current, std::uint64_t epoch) {
  if (current.order.phase == Phase::kOpen || epoch >= current.order.epoch) return {};
  return failure(Code::kConflict, fmt::format("the hold of epoch {} is closed, not one of {}",
                                              current.order.epoch, epoch));
}

Result<void> Gateway::close_hold(const HoldRequest& request) {
  return current_.with([&](Current& current) -> Result<void> {
    TRY_VOID(may_order(current));
    if (current.order.phase == Phase::kCommitted) {
      if (current.order.epoch == request.epoch) return {};
      return failure(Code::kConflict,
                     fmt::format("the hold of epoch {} is committed", current.order.epoch));
    }
    TRY_VOID(refuse_stale(current, request.epoch));
    Current next = current;
    next.order = {.phase = Phase::kRevocable,
                  .epoch = request.epoch,
                  .routes = request.routes,
                  .hosts = request.hosts,
                  .methods = request.methods,
                  .resume = request.resume,
                  .bounds = request.bounds};
    if (next.routing) next.order.bounds.max_wait = next.routing->snapshot.limits.hold_wait_ms;
    TRY_VOID(persist(next));
    const Mono now = clock_.now();
    const bool is_same =
        current.order.phase == Phase::kRevocable && current.order.epoch == request.epoch;
    if (!is_same) next.closed_at = now;
    HoldOrder share = next.order;
    share.bounds = share.bounds.share(static_cast<std::int64_t>(workers_.size()));
    threads_->run_on_all([&](std::size_t i) {
      workers_[i]->hold().close(share, now);
      workers_[i]->hold().tick();
      workers_[i]->rearm_hold();
    });
    current = next;
    return {};
  });
}

Result<void> Gateway::commit_hold(std::uint64_t epoch) {
  return current_.with([&](Current& current) -> Result<void> {
    TRY_VOID(may_order(current));
    if (current.order.phase == Phase::kOpen || current.order.epoch != epoch)
      return failure(Code::kConflict, fmt::format("no hold of epoch {} is closed", epoch));
    const Current before = current;
    current.order.phase = Phase::kCommitted;
    if (Result<void> recorded = persist(current); !recorded) {
      current = before;
      return recorded;
    }
    return commit_on_workers(current);
  });
}

// One gate that had opened by itself is enough: then the hold is over on all.
Result<void> Gateway::commit_on_workers(Current& current) {
  std::vector<Result<void>> results(workers_.size());
  threads_->run_on_all([&](std::size_t i) {
    results[i] = workers_[i]->hold().commit(current.order.epoch);
    workers_[i]->rearm_hold();
  });
  const auto failed = std::ranges::find_if(results, [](const auto& result) { return !result; });
  if (failed == results.end()) return {};
  open_on_workers(current, 0);
  current.order.phase = Phase::kOpen;
  if (Result<void> recorded = persist(current); !recorded)
    log_error("opened hold not recorded", {{"error", recorded.error().message()}});
  return *failed;
}

HoldStats Gateway::hold_stats() {
  std::vector<HoldStats> stats(workers_.size());
  threads_->run_on_all([&](std::size_t i) { stats[i] = workers_[i]->hold().stats(); });
  HoldStats sum = stats.front();
  for (std::size_t i = 1; i < stats.size(); ++i) sum += stats[i];
  return sum;
}

// All workers replay by the same clock and at the same speed: requests go in in their order.
HoldStats Gateway::open_on_workers(const Current& current, double pace_per_s) {
  const HoldStats before = hold_stats();
  const Mono now = clock_.now();
  const Release release{.closed_at = current.closed_at,
                        .opened_at = now,
                        .speed = replay_speed(before.held, now - current.closed_at,
                                              before.rate_before, current.order.resume),
                        .pace_per_s = pace_per_s / static_cast<double>(workers_.size())};
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->hold().open(release);
    workers_[i]->hold().tick();
    workers_[i]->rearm_hold();
  });
  return before;
}

Result<HoldStats> Gateway::open_hold(std::uint64_t epoch, double pace_per_s) {
  return current_.with([&](Current& current) -> Result<HoldStats> {
    TRY_VOID(may_order(current));
    TRY_VOID(refuse_stale(current, epoch));
    const std::uint64_t in_force = current.routing ? current.routing->snapshot.epoch : 0;
    if (in_force < epoch)
      return failure(Code::kConflict,
                     fmt::format("snapshot epoch {} is in force, not yet {}", in_force, epoch));
    Current next = current;
    next.order.phase = Phase::kOpen;
    TRY_VOID(persist(next));
    current = next;
    return open_on_workers(current, pace_per_s);
  });
}

}  // namespace banyan::gateway
