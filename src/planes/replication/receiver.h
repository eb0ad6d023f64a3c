#pragma once
// Receiver: one connection to a slot. Appends what the server sends to the ReceivedLog, whatever
// the applying side does, and answers its keepalives. Stops reading, but not answering, while more
// than the limit waits to be read or the disk is full.
//
// What the server may forget (`flush`) is what is durable in every target, or what is fsynced here:
// while the log that the slot makes the server keep is over its limit, and when the server is being
// stopped, which waits until it may forget all it has sent (`WalSndDone` of PostgreSQL) and lets
// nobody in who applies meanwhile. It never goes back.

#include <atomic>
#include <cstdint>
#include <stop_token>
#include <string>

#include "planes/replication/received_log.h"
#include "wire/pg/replication.h"

namespace banyan::replication {

// Positions are those of the source. Any thread.
struct ReceiverSignals {
  std::atomic<std::uint64_t> received{0};    // how far the server says it has sent
  std::atomic<std::uint64_t> confirmed{0};   // what the server was told it may forget
  std::atomic<bool> is_wal_short{false};     // the server has to keep too much
  std::atomic<std::int64_t> spool_limit{0};  // bytes that may wait to be read
};

struct ReceiverConfig {
  std::string migration;
  std::string url;
  std::string publication;
  LogIdentity identity;  // an unknown timeline is empty
  std::int64_t spool_limit = std::int64_t{16} << 30;
  std::string share{};  // whose slot it is, when several migrations read it
};

class Receiver {
 public:
  // Checks that the slot is the one that was made for this stream and lost nothing.
  static Result<Receiver> open(const ReceiverConfig& config, ReceivedLog& log,
                               ReceiverSignals& signals);
  // Reads until `stop`, or the connection fails.
  Result<void> run(const std::stop_token& stop);

 private:
  Receiver(pg::ReplicationConnection connection, const ReceiverConfig& config, ReceivedLog& log,
           ReceiverSignals& signals)
      : connection_(std::move(connection)), config_(config), log_(log), signals_(signals) {}
  Result<void> handle(const pg::StreamMessage& message);
  Result<void> wait_for_room(const Result<void>& kept);
  Result<void> flush();
  Result<void> feedback();
  pg::Lsn fsynced();
  void note_pace();
  void note_asked();

  pg::ReplicationConnection connection_;
  const ReceiverConfig& config_;
  ReceivedLog& log_;
  ReceiverSignals& signals_;
  pg::Lsn position_;
  bool is_disk_full_ = false;
  bool is_over_limit_ = false;
  bool reply_now_ = false;
  bool is_stopping_ = false;  // the server
  Duration sender_timeout_{};
  Mono last_feedback_{};
  int paced_ = 0;  // messages since `pace_from_`
  Mono pace_from_{};
  bool is_busy_ = false;
};

}  // namespace banyan::replication
