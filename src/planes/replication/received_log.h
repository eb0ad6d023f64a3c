#pragma once
// ReceivedLog: what a slot has sent and the other side may not have yet, on disk. The receiver
// appends whatever the server sends; the applying side reads it from the front, near the head out
// of the page cache. Numbered segments of about 64 MB (log_record.h), each cut where nothing is
// half said; removed from the front once all of it is durable in the target.
//
//   front ...durable | being applied | ...read | unread... end
//                                      limit: bounds this, then the receiver stops reading
//
// Several may read it, each by a name and at its own pace: what one of them may still need is kept,
// so the slowest one decides over front, limit and what is durable.
//
// Transactions that the server sends before they have ended stay in the log until their commit is
// read: whoever reads keeps where their blocks lie (Extent).
//
// It is a cache: whatever is not provably intact and of this slot is dropped by recover(), and
// asked for again. Only after the source was told that what is here is safe (sync()) is it the only
// copy. One writer, and one thread for each reader; what concerns readers, from any thread.

#include <atomic>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "base/guarded.h"
#include "planes/replication/log_record.h"

namespace banyan::replication {

struct LogPlace {
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;
};

struct LogStanding {
  std::int64_t bytes = 0;
  std::int64_t unread = 0;
  int segments = 0;
};

// What one reader has of a log.
struct LogReading {
  LogPlace read;           // all before it was read
  pg::Lsn durable;         // what ends here or before is where it belongs; 0: not known yet
  std::uint64_t keep = 0;  // the first segment that may be asked for again
};

class ReceivedLog {
 public:
  static constexpr std::uint64_t kSegmentBytes = 64 << 20;

  explicit ReceivedLog(std::uint64_t segment_bytes = kSegmentBytes)
      : segment_bytes_(segment_bytes) {}
  ~ReceivedLog() { close(); }
  ReceivedLog(const ReceivedLog&) = delete;
  ReceivedLog& operator=(const ReceivedLog&) = delete;

  // Opens the log in `directory`, creating it: goes on with what is there when it is this slot's,
  // intact, and reaches from `applied` on without a gap; anything else is removed.
  Result<void> recover(const std::filesystem::path& directory, const LogIdentity& identity,
                       pg::Lsn applied);
  // Forgets nothing: recover() finds it again. Whoever reads fails as kUnavailable and begins anew.
  void close();
  // Whether what follows `applied` is here or can be appended.
  bool covers(pg::Lsn applied) const { return begins_before(applied) && readable_end() >= applied; }
  // The same, were more appended already.
  bool begins_before(pg::Lsn applied) const;

  // ---- the writer
  // A new connection, asked for what follows end(): what was in progress is dropped.
  Result<void> join(pg::Lsn restart_lsn);
  // A failure to write leaves the record to the next flush(). Only corruption is not kUnavailable.
  Result<void> append(const Record& record);
  bool is_between() const { return outline_.is_between(); }
  std::size_t unflushed() const { return buffer_.size(); }
  Result<void> flush();
  // Brings all that was appended to the disk; every commit before the answer is on it.
  Result<pg::Lsn> sync();
  // Every commit before it was appended.
  pg::Lsn end() const { return outline_.complete(); }
  // The slot's, when the last connection was made.
  pg::Lsn restart_lsn() const { return restart_lsn_; }

  // ---- the readers
  // From now on nothing is removed that `reader` may need, who has nothing yet.
  void add_reader(const std::string& reader);
  void remove_reader(const std::string& reader);
  // What is known of `reader` otherwise; it may go back. Who has left stays away.
  void set_durable(const std::string& reader, pg::Lsn durable);
  std::map<std::string, LogReading> readers() const;
  // Every one of them has durably what ends here or before; 0: not known of one of them.
  pg::Lsn durable() const;

  struct Readable {
    std::uint64_t bytes = 0;  // of the segment
    bool has_next = false;
  };
  // What there is of the segment; all before `read` was read.
  Readable readable(const std::string& reader, const LogPlace& read);
  // Waits until there is something behind `read`.
  void wait_beyond(const LogPlace& read, Duration timeout);
  // Where `reader` has to begin; 0: nothing is there yet.
  std::uint64_t front(const std::string& reader) const;
  // Rises when the log is closed: the segments' numbers may then mean something else.
  std::uint64_t generation() const { return generation_; }
  // `reader` has what is `durable`, and asks for no segment before `keep`: removes what nobody
  // needs.
  Result<void> trim(const std::string& reader, pg::Lsn durable, std::uint64_t keep);
  std::filesystem::path path(std::uint64_t segment) const;

  LogStanding standing(const std::string& reader) const;
  // Of the slowest reader.
  std::int64_t unread() const;

 private:
  struct Segment {
    std::uint64_t number = 0;
    pg::Lsn begins;
    std::uint64_t bytes = 0;
  };
  struct State {
    std::deque<Segment> segments;
    pg::Lsn end;  // of what can be read
    std::map<std::string, LogReading> readers;

    std::uint64_t first_needed(const LogReading& reader) const;
    std::int64_t unread(const LogReading& reader) const;
  };
  pg::Lsn readable_end() const;
  bool go_on_with(std::uint64_t number);
  bool begins_rightly(const Record& record, std::uint64_t number);
  Result<void> remove_all_but(std::size_t good);
  Result<void> begin_segment(bool is_join);
  Result<void> cut_to_boundary();
  void publish();

  const std::uint64_t segment_bytes_;
  std::filesystem::path directory_;
  LogIdentity identity_;
  mutable Guarded<State> state_;
  std::atomic<std::uint64_t> generation_{0};

  // The writer's.
  StreamOutline outline_;
  pg::Lsn restart_lsn_;
  int handle_ = -1;
  std::uint64_t number_ = 0;    // of the segment that is written
  std::uint64_t written_ = 0;   // bytes of it
  std::uint64_t boundary_ = 0;  // where in it nothing is half said
  std::string buffer_;
  std::set<std::uint64_t> unsynced_;
  pg::Lsn synced_;
  bool has_sync_failed_ = false;
};

}  // namespace banyan::replication
