#pragma once
// Stream: one direction of a migration, kept running. Two halves, each started again by itself:
//
//   slot -> Receiver -> ReceivedLog -> ChangeStream -> queue -> Applier -> target
//           receiving  (on disk)       reading                  applying
//   '------------ Feed ------------'
//
// Receiving goes on while applying waits or has failed, so that the source is never held up.
//
//            open                 error that may pass
//   stopped ------> running ------------------------> waiting (back-off, then open again)
//                      |  error that does not pass
//                      +------> failed (until start() again)
//   None of these is remembered: where to go on is in the databases, and in the log.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/guarded.h"
#include "planes/replication/applier.h"
#include "planes/replication/change_stream.h"
#include "planes/replication/feed.h"

namespace banyan::replication {

struct StreamConfig {
  ApplierConfig applier;
  ReceiverConfig receiver;
  IsCarried is_carried;  // of a shared feed
};

struct StreamStatus {
  StreamState state = StreamState::kStopped;
  std::optional<Error> error;
  pg::Lsn received;
  pg::Lsn applied;
  pg::Lsn position;
  std::int64_t lag_ms = 0;
  std::int64_t lag_bytes = 0;
  std::int64_t transactions = 0;
  std::int64_t rows = 0;
  std::int64_t batches = 0;
  std::int64_t batches_row_by_row = 0;
  std::int64_t batches_beside = 0;
  std::int64_t batches_again = 0;
  std::optional<Misfit> misfit;
  std::deque<DdlNote> ddl;
  std::int64_t alarms_total = 0;
  std::deque<Alarm> alarms;
  LogStanding spool;
  std::optional<Feed::Full> full;
  std::map<std::string, LogReading> readers;  // of a shared feed, by migration
  std::uint64_t in_progress = 0;              // transactions that wait for their commit
  bool is_only_copy = false;  // the source has forgotten what the target does not have yet
};

class Stream {
 public:
  Stream(StreamConfig config, std::shared_ptr<Feed> feed)
      : config_(std::move(config)), feed_(std::move(feed)) {}
  ~Stream() { stop(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void start();
  // Another slot; only while it is stopped.
  void reconfigure(StreamConfig config) { config_ = std::move(config); }
  // Returns when nothing more is committed on the applying side.
  void stop();
  StreamStatus status() const;
  // Everything before it is applied, or was nothing to apply.
  pg::Lsn position() const;
  // Runs `body` while exactly what commits before the point is applied. `find_point` gives it while
  // nothing is applied, so the stream has not passed it. One at a time.
  Result<void> at_point(const std::function<Result<pg::Lsn>()>& find_point, Duration timeout,
                        const std::function<Result<void>()>& body);
  // The change of the schema before which applying has stopped.
  std::optional<DdlTransaction> ddl_stop() const;
  void allow_spool(std::int64_t bytes) { feed_->allow(config_.receiver.migration, bytes); }
  // The source has to keep too much of its log: tell it that what is fsynced here is safe.
  void set_wal_short(bool is_short) { feed_->signals().is_wal_short = is_short; }

 private:
  void draw_line(std::optional<pg::Lsn> line);
  Result<void> stand_and_run(pg::Lsn point, Duration timeout,
                             const std::function<Result<void>()>& body);
  Result<void> apply(const std::stop_token& stop);
  Result<void> apply_all(Applier& applier, DeliveryQueue& queue, const std::stop_token& stop);
  // The worse of both halves.
  StreamHalf::Standing standing() const;

  StreamConfig config_;
  const std::shared_ptr<Feed> feed_;
  mutable Guarded<ApplyShared> shared_;
  ApplySignals signals_;
  StreamHalf half_{"applying"};
  std::mutex at_point_;
  std::jthread applying_;
};

}  // namespace banyan::replication
