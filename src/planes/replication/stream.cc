#include "planes/replication/stream.h"

#include <algorithm>

#include "base/fail_point.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kQueueBytes = 32 << 20;
constexpr auto kIdleAfter = 50ms;
constexpr auto kFillFor = 20ms;  // while far behind, for a batch to become full
constexpr std::int64_t kEpochGapUs = 946'684'800'000'000;

std::int64_t now_us() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since).count() - kEpochGapUs;
}

}  // namespace

StreamHalf::Standing Stream::standing() const {
  auto applying = half_.standing();
  auto receiving = feed_->standing();
  return receiving.state > applying.state ? receiving : applying;
}

void Stream::start() {
  if (applying_.joinable() && standing().state != StreamState::kFailed) return;
  stop();
  feed_->retry();
  half_.set(StreamState::kWaiting);
  applying_ = std::jthread([this](const std::stop_token& stop) {
    half_.run(
        stream_name(config_.applier.migration, config_.applier.from),
        [this](const auto& own) { return apply(own); }, stop);
  });
}

void Stream::stop() {
  applying_ = std::jthread();
  feed_->close(config_.receiver.migration);
  half_.set(StreamState::kStopped);
}

Result<void> Stream::apply(const std::stop_token& stop) {
  TRY_VOID(fail_point("stream.open"));
  TRY(auto applier, Applier::open(config_.applier, shared_));
  const auto from = applier->claim().applied;
  signals_.durable = from.value();
  TRY_VOID(feed_->open(config_.receiver, from));
  auto& log = feed_->log();
  const auto generation = log.generation();
  ChangeStream source(
      {.migration = config_.applier.migration,
       .opposite_stream = stream_name(config_.applier.migration, other_side(config_.applier.from)),
       .from = from,
       .is_carried = config_.is_carried},
      log);
  half_.set(StreamState::kRunning);
  DeliveryQueue queue(kQueueBytes);
  Result<void> read;
  std::jthread reader([&](const std::stop_token& own_stop) {
    read = source.run(own_stop, queue, signals_);
    queue.close();
  });
  const auto applied = apply_all(*applier, queue, stop);
  queue.close();
  reader = std::jthread();
  if (!applied) return applied;
  // A damaged log is opened anew: what is lost is asked for again.
  if (!read && read.error().code() == Code::kCorruption) feed_->reopen(generation);
  return read;
}

Result<void> Stream::apply_all(Applier& applier, DeliveryQueue& queue,
                               const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto delivery = queue.pop(applier.is_catching_up() ? kFillFor : 0ms);
    if (!delivery) {
      if (queue.is_closed()) return {};
      TRY_VOID(applier.idle(stop));
      signals_.durable = applier.durable().value();
      delivery = queue.pop(kIdleAfter);
    }
    if (!delivery) continue;
    for (auto& fragment : *delivery) TRY_VOID(applier.take(std::move(fragment), stop));
    signals_.durable = applier.durable().value();
  }
  return {};
}

pg::Lsn Stream::position() const {
  return shared_.with([](const ApplyShared& shared) { return shared.position; });
}

std::optional<DdlTransaction> Stream::ddl_stop() const {
  return shared_.with([](const ApplyShared& shared) { return shared.ddl_stop; });
}

StreamStatus Stream::status() const {
  StreamStatus status;
  auto now = standing();
  status.state = now.state;
  status.error = std::move(now.error);
  const auto& feed = feed_->signals();
  status.received = pg::Lsn(feed.received.load());
  status.spool = feed_->log().standing(config_.receiver.migration);
  status.full = feed_->full();
  if (!feed_->share().empty()) status.readers = feed_->log().readers();
  status.in_progress = signals_.in_progress;
  status.is_only_copy = feed.confirmed > signals_.durable;
  std::int64_t applied_us = 0;
  shared_.with([&](const ApplyShared& shared) {
    status.applied = shared.applied;
    status.position = shared.position;
    status.transactions = shared.transactions;
    status.rows = shared.rows;
    status.batches = shared.batches;
    status.batches_row_by_row = shared.batches_row_by_row;
    status.batches_beside = shared.batches_beside;
    status.batches_again = shared.batches_again;
    status.misfit = shared.misfit;
    status.ddl = shared.ddl;
    status.alarms_total = shared.alarms_total;
    status.alarms = shared.alarms;
    applied_us = shared.applied_time_us;
  });
  if (status.received <= status.position) return status;
  status.lag_bytes = static_cast<std::int64_t>(status.received.value() - status.position.value());
  if (applied_us != 0) status.lag_ms = std::max<std::int64_t>(0, (now_us() - applied_us) / 1000);
  return status;
}

Result<void> Stream::at_point(const std::function<Result<pg::Lsn>()>& find_point, Duration timeout,
                              const std::function<Result<void>()>& body) {
  const std::lock_guard one_at_a_time(at_point_);
  // Hold everything first, or a busy stream is beyond the point before we know it.
  draw_line(pg::Lsn(1));
  Result<void> done;
  const auto point = find_point();
  if (!point) {
    done = std::unexpected(point.error());
  } else {
    draw_line(*point);
    done = stand_and_run(*point, timeout, body);
  }
  draw_line(std::nullopt);
  return done;
}

void Stream::draw_line(std::optional<pg::Lsn> line) {
  shared_.change([&](ApplyShared& shared) {
    shared.line = line;
    shared.is_at_line = false;
  });
}

Result<void> Stream::stand_and_run(pg::Lsn point, Duration timeout,
                                   const std::function<Result<void>()>& body) {
  const bool reached =
      shared_.wait_for(timeout, [](const ApplyShared& shared) { return shared.is_at_line; });
  if (!reached) {
    return failure(Code::kTimeout, "the stream did not come to the point in time", Retry::kSafe);
  }
  const bool is_exact =
      shared_.with([&](const ApplyShared& shared) { return shared.last_commit < point; });
  if (!is_exact) return failure(Code::kConflict, "the stream has passed the point", Retry::kSafe);
  return body();
}

}  // namespace banyan::replication
