#pragma once
// What the files of Engine share, and nobody else.

#include <array>
#include <atomic>
#include <mutex>

#include "planes/replication/engine.h"
#include "planes/replication/wal_guard.h"

namespace banyan::replication {

Result<pg::Connection> connect(const std::string& url);

// Between the new slot and the last row of a repair the sides are not copies of one another.
Result<void> check_repaired(const StreamRecord& record);

// What the threads share. Streams are made once and live as long as the engine.
struct Engine::Shared {
  struct Report {
    std::string state = "prepared";
    std::optional<Error> error;
    bool is_running = false;
    bool has_caught_up = false;
    std::array<std::optional<Error>, 2> schema_errors;  // by the side that is followed
  };
  mutable Guarded<Report> report;
  mutable Guarded<CopyProgress> tables;
  mutable Guarded<CopyRate> rate;
  CopyThrottle throttle;
  Guarded<std::array<std::unique_ptr<Stream>, 2>> streams;
  Guarded<std::array<std::optional<WalStanding>, 2>> wal;  // by side
  std::atomic<std::int64_t> spool_limit{0};
  std::mutex making_opposite;
  std::mutex making_feed;
  // Receives already, though nothing is applied that follows `start`.
  struct Early {
    std::shared_ptr<Feed> feed;
    pg::Lsn start;
  };
  Guarded<Early> early;
};

}  // namespace banyan::replication
