#pragma once
// Stream: one direction of a migration, kept running: a receiver thread and an applier thread.
//
//            open                 error that may pass
//   stopped ------> running ------------------------> waiting (back-off, then open again)
//                      |  error that does not pass
//                      +------> failed (until start() again)
//   None of these is remembered: where to go on is in the databases.

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/guarded.h"
#include "planes/replication/applier.h"
#include "planes/replication/change_stream.h"

namespace banyan::replication {

struct StreamConfig {
  ApplierConfig applier;
  std::string slot;
  std::string publication;
  std::string system_id;
  std::filesystem::path spool;
};

enum class StreamState : std::uint8_t { kStopped, kRunning, kWaiting, kFailed };

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
  std::int64_t alarms_total = 0;
  std::deque<Alarm> alarms;
};

class Stream {
 public:
  explicit Stream(StreamConfig config) : config_(std::move(config)) {}
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
  // nothing is applied, so the stream has not passed it.
  Result<void> at_point(const std::function<Result<pg::Lsn>()>& find_point, Duration timeout,
                        const std::function<Result<void>()>& body);
  std::vector<TouchedKey> touched_keys(std::size_t limit) const;

 private:
  struct Health {
    StreamState state = StreamState::kStopped;
    std::optional<Error> error;
  };
  void draw_line(std::optional<pg::Lsn> line);
  Result<void> stand_and_run(pg::Lsn point, Duration timeout,
                             const std::function<Result<void>()>& body);
  void supervise(const std::stop_token& stop);
  Result<void> session(const std::stop_token& stop);
  Result<void> apply_all(Applier& applier, DeliveryQueue& queue, const std::stop_token& stop);
  void set_health(StreamState state, std::optional<Error> error);

  StreamConfig config_;
  mutable Guarded<ApplyShared> shared_;
  Guarded<Health> health_;
  std::atomic<std::uint64_t> durable_{0};
  std::atomic<std::uint64_t> received_{0};
  std::jthread thread_;
};

}  // namespace banyan::replication
