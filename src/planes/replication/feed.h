#pragma once
// Feed: what streams are fed from: one slot's Receiver, kept running, and its ReceivedLog. A stream
// has one of its own; the streams of splits that share a slot have one together, and each reads at
// its own pace.
//
//   slot -> Receiver -> ReceivedLog -+-> stream of split a -> target a
//           one decoding  (on disk)  +-> stream of split b -> target b
//
// Receiving runs while a stream is open. What may be forgotten is what everybody has who reads: of
// a shared feed everybody whose tables the source lists for it (shared_slot.h), open or not.
//
// Any thread.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "planes/replication/receiver.h"
#include "planes/replication/stream_half.h"

namespace banyan::replication {

class Feed {
 public:
  // Of one stream alone, or of those that share `share`.
  explicit Feed(std::filesystem::path spool, std::string share = "")
      : spool_(std::move(spool)), share_(std::move(share)) {}
  ~Feed();
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // The stream of migration `config.migration` reads from now on, beginning behind `applied`.
  // kConflict when what it needs is not there, or the shared slot is not its own any more.
  Result<void> open(const ReceiverConfig& config, pg::Lsn applied);
  // How many bytes may wait while this one reads, whatever open() says; the least of all counts.
  void allow(const std::string& migration, std::int64_t spool_limit);
  // What people must know when as much waits as may: nothing more is received.
  struct Full {
    std::string alarm;
    std::string remedy;
  };
  std::optional<Full> full() const;
  // Receiving that has failed is tried again by the next open(), which gives its error otherwise.
  void retry();
  // It does not read for now. After the last one nothing is received.
  void close(const std::string& migration);
  // The log of this generation is damaged: what is lost is asked for again.
  void reopen(std::uint64_t generation);

  // ---- shared
  // Nothing is forgotten from now on that `migration` may need, who has what is `durable`; 0: it is
  // still to be found where it begins.
  void join(const std::string& migration, pg::Lsn durable);
  // `unlist` takes the migration off the source and tells whether anybody is left; after the last
  // one nothing is received or kept.
  Result<void> leave(const std::string& migration, const std::function<Result<bool>()>& unlist);
  // Which slot it reads, as the source says. Another than before: its log begins anew.
  void set_slot(const LogIdentity& slot);
  // Whoever joins or leaves holds it.
  std::mutex& membership() { return membership_; }
  const std::string& share() const { return share_; }

  ReceivedLog& log() { return log_; }
  ReceiverSignals& signals() { return signals_; }
  const ReceiverSignals& signals() const { return signals_; }
  const ReceivedLog& log() const { return log_; }
  StreamHalf::Standing standing() const { return half_.standing(); }

 private:
  bool is_receiving() const;
  void set_limit();
  void stop_receiving();
  Result<void> start_receiving(const ReceiverConfig& config, pg::Lsn applied);
  Result<pg::Lsn> shared_beginning(const ReceiverConfig& config, pg::Lsn applied);
  Result<void> check_shared(const ReceiverConfig& config, pg::Lsn applied) const;
  Result<void> receive(const std::stop_token& stop);

  const std::filesystem::path spool_;
  const std::string share_;
  std::mutex membership_;
  std::mutex mutex_;                          // of what follows up to the log
  std::map<std::string, std::int64_t> open_;  // and what each allows to wait
  std::map<std::string, std::int64_t> allowed_;
  std::optional<LogIdentity> slot_;  // of a shared feed
  ReceiverConfig config_;            // constant while receiving
  ReceivedLog log_;
  ReceiverSignals signals_;
  StreamHalf half_{"receiving"};
  std::jthread receiving_;
};

// The feeds that migrations of one role share. Any thread.
class SharedFeeds {
 public:
  explicit SharedFeeds(std::filesystem::path root) : root_(std::move(root)) {}
  // kInvalidArgument when the others of `share` read another address.
  Result<std::shared_ptr<Feed>> find(const std::string& share, const std::string& url);

 private:
  struct Known {
    std::string url;
    std::weak_ptr<Feed> feed;  // of the engines
  };
  const std::filesystem::path root_;
  Guarded<std::map<std::string, Known>> feeds_;
};

}  // namespace banyan::replication
