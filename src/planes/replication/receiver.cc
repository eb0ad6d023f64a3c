#include "planes/replication/receiver.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/back_off.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kFlushBytes = 256 << 10;
constexpr auto kFeedbackEvery = 1s;
constexpr auto kReadWait = 100ms;
constexpr auto kFullPause = 20ms;
constexpr auto kGather = 1ms;
constexpr auto kPaceOver = 5ms;
constexpr Duration kBusyGap = 500us;  // between two messages of a busy server, at most

struct SlotStanding {
  pg::Lsn confirmed;
  pg::Lsn restart;
};

class SlotCheck {
 public:
  SlotCheck(const ReceiverConfig& config, const ReceivedLog& log) : config_(config), log_(log) {}

  Result<void> check_server(const pg::SystemIdentity& server) const {
    const auto& known = config_.identity;
    if (server.system_id != known.system_id) {
      return lost("the address leads to another server than the slot was made on");
    }
    if (known.timeline.empty() || server.timeline == known.timeline) return {};
    return lost(fmt::format(
        "the server was promoted or restored: it is on timeline {}, the slot was made on {}",
        server.timeline, known.timeline));
  }

  Result<SlotStanding> check_slot(const pg::Rows& rows) const {
    const auto& slot = config_.identity.slot;
    if (rows.size() != 1) return lost("the slot " + slot + " is gone");
    if (rows.is_null(0, 3)) {
      return lost("the server has dropped log that the slot " + slot + " needs");
    }
    if (rows.text(0, 0) != "pgoutput" || !rows.boolean(0, 1)) {
      return lost("the slot " + slot + " is not ours any more, or invalid");
    }
    TRY(const auto confirmed, pg::parse_lsn(rows.text(0, 2)));
    TRY(const auto restart, pg::parse_lsn(rows.text(0, 3)));
    if (restart < log_.restart_lsn()) return lost("the slot " + slot + " was made anew");
    if (confirmed <= log_.end()) return SlotStanding{.confirmed = confirmed, .restart = restart};
    return lost(fmt::format(
        "the slot {} has forgotten changes up to {} that neither the target nor the spool "
        "has, which are complete up to {}",
        slot, pg::format_lsn(confirmed), pg::format_lsn(log_.end())));
  }

 private:
  std::unexpected<Error> lost(const std::string& what) const {
    log_error("changes may be missing", {{"migration", config_.migration}, {"why", what}});
    return std::unexpected(
        Error(Code::kConflict, what)
            .with_remedy(fmt::format(
                "Changes may be missing, so nothing more is applied.\n"
                "1. Make a new slot and copy only what differs: banyan migrate repair {0}{1}\n"
                "2. Before a switch: banyan migrate cancel {0}, and create it anew.\n"
                "3. If the address or the disk is the wrong one: put it right, then "
                "banyan migrate create {0}",
                config_.migration,
                config_.share.empty() ? "" : ", and then each other split that shares it")));
  }

  const ReceiverConfig& config_;
  const ReceivedLog& log_;
};

// In a failover the address may lead to a standby for a while: that ends, one way or the other.
Result<void> refuse_standby(pg::ReplicationConnection& connection) {
  TRY(const auto rows, connection.query("select pg_catalog.pg_is_in_recovery()"));
  if (!rows.boolean(0, 0)) return {};
  return failure(Code::kUnavailable, "the server is a standby and has no slots to read yet",
                 Retry::kSafe);
}

// 0: the server never asks whether anybody is there.
Result<Duration> sender_timeout(pg::ReplicationConnection& connection) {
  TRY(const auto rows,
      connection.query("select (1000 * extract(epoch from pg_catalog.current_setting("
                       "'wal_sender_timeout')::interval))::bigint"));
  return std::chrono::milliseconds(rows.integer(0, 0));
}

}  // namespace

Result<Receiver> Receiver::open(const ReceiverConfig& config, ReceivedLog& log,
                                ReceiverSignals& signals) {
  TRY(auto connection, pg::ReplicationConnection::open(config.url, "banyan_stream"));
  TRY_VOID(refuse_standby(connection));
  const SlotCheck check(config, log);
  TRY(const auto server, connection.identify());
  TRY_VOID(check.check_server(server));
  TRY(const auto rows,
      connection.query(fmt::format(
          "select plugin, database = pg_catalog.current_database(), confirmed_flush_lsn, "
          "restart_lsn from pg_catalog.pg_replication_slots where slot_name = {}",
          pg::quote_literal(config.identity.slot))));
  TRY(const auto slot, check.check_slot(rows));
  TRY(const auto timeout, sender_timeout(connection));
  TRY_VOID(fail_point("stream.slot_checked"));
  TRY_VOID(log.join(slot.restart));
  TRY_VOID(connection.start(
      {.slot = config.identity.slot, .publication = config.publication, .from = log.end()}));
  signals.confirmed = slot.confirmed.value();
  Receiver receiver(std::move(connection), config, log, signals);
  receiver.sender_timeout_ = timeout;
  return receiver;
}

Result<void> Receiver::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (is_disk_full_ || is_over_limit_) {
      sleep_unless_stopped(stop, kFullPause);
      TRY_VOID(flush());
      TRY_VOID(feedback());
      continue;
    }
    // A busy server sends change by change: for a moment they gather in the socket.
    if (is_busy_ && log_.unflushed() == 0) std::this_thread::sleep_for(kGather);
    // What is there is read at once; only an empty socket or many bytes end it.
    TRY(const auto message, connection_.read(log_.unflushed() == 0 ? kReadWait : 0ms));
    TRY_VOID(fail_point("stream.message"));
    TRY_VOID(handle(message));
    const bool is_silent = std::holds_alternative<std::monostate>(message);
    paced_ += is_silent ? 0 : 1;
    if (!is_silent && !reply_now_ && log_.unflushed() < kFlushBytes) continue;
    note_pace();
    TRY_VOID(flush());
    TRY_VOID(feedback());
  }
  return {};
}

void Receiver::note_pace() {
  const auto now = SystemClock().now();
  const auto took = now - pace_from_;
  if (took < kPaceOver) return;
  is_busy_ = paced_ > took / kBusyGap;
  paced_ = 0;
  pace_from_ = now;
}

// A full disk is waited for: what was appended is still to be written.
Result<void> Receiver::wait_for_room(const Result<void>& kept) {
  const bool is_full = !kept && kept.error().code() == Code::kUnavailable;
  if (is_full && !is_disk_full_) {
    log_error("receiving stands", {{"migration", config_.migration},
                                   {"error", kept.error().message()},
                                   {"remedy", kept.error().remedy()}});
  }
  is_disk_full_ = is_full;
  return is_full ? Result<void>() : kept;
}

Result<void> Receiver::handle(const pg::StreamMessage& message) {
  if (const auto* data = std::get_if<pg::XLogData>(&message)) {
    position_ = std::max(position_, data->start);
    return wait_for_room(
        log_.append({.kind = RecordKind::kData, .lsn = data->start, .payload = data->payload}));
  }
  const auto* keepalive = std::get_if<pg::Keepalive>(&message);
  if (keepalive == nullptr) return {};
  if (keepalive->reply_requested) note_asked();
  // Inside a transaction the position says nothing about its changes. A streamed one in progress is
  // behind no position: the server sends all of it again until its commit is confirmed.
  if (!log_.is_between() || keepalive->wal_end <= log_.end()) return {};
  position_ = std::max(position_, keepalive->wal_end);
  return wait_for_room(
      log_.append({.kind = RecordKind::kPosition, .lsn = keepalive->wal_end, .payload = {}}));
}

Result<void> Receiver::flush() {
  signals_.received = std::max(position_, log_.end()).value();
  TRY_VOID(wait_for_room(log_.flush()));
  const bool was_over_limit = std::exchange(is_over_limit_, log_.unread() > signals_.spool_limit);
  if (is_over_limit_ && !was_over_limit) {
    log_error("receiving stands", {{"migration", config_.migration},
                                   {"error", "as much waits in the spool as may"},
                                   {"unread_bytes", log_.unread()}});
  }
  return {};
}

// A server that only wonders whether anybody is there asks when half of its `wal_sender_timeout`
// has passed without an answer; one that is being stopped asks again after each answer.
void Receiver::note_asked() {
  const auto silence = SystemClock().now() - last_feedback_;
  is_stopping_ = sender_timeout_ == Duration::zero() || silence < sender_timeout_ / 4;
  reply_now_ = true;
}

// 0 when that is not possible.
pg::Lsn Receiver::fsynced() {
  const auto synced = log_.sync();
  if (!synced) log_warn("the spool is not on disk", {{"error", synced.error().message()}});
  return synced.value_or(pg::Lsn());
}

Result<void> Receiver::feedback() {
  const auto now = SystemClock().now();
  if (!reply_now_ && now - last_feedback_ < kFeedbackEvery) return {};
  reply_now_ = false;
  last_feedback_ = now;
  TRY_VOID(fail_point("stream.feedback"));
  const auto durable = log_.durable();
  auto safe = std::max(durable, pg::Lsn(signals_.confirmed.load()));
  const bool is_awaited = std::exchange(is_stopping_, false) || signals_.is_wal_short;
  if (is_awaited && !is_disk_full_) safe = std::max(safe, fsynced());
  TRY_VOID(connection_.send_feedback(
      {.written = std::max(position_, safe), .flushed = safe, .applied = durable}));
  signals_.confirmed = safe.value();
  return {};
}

}  // namespace banyan::replication
