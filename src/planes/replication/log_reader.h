#pragma once
// LogReader: a received log's records in order, from where its reader has to begin; waits at its
// head. One thread.
//
// A record that is not what was written is kCorruption with Retry::kSafe: recover() cuts it away.
// What is read of a transaction whose connection broke is cut off by the writer; having read it,
// next() fails as kUnavailable and reading begins anew; so it does once the log was closed.

#include <optional>

#include "planes/replication/received_log.h"
#include "planes/replication/segment_file.h"

namespace banyan::replication {

struct LogEntry {
  Record record;
  LogPlace place;         // where it begins
  std::uint64_t end = 0;  // where in the segment it ends
};

// Consecutive records of one segment.
struct Extent {
  LogPlace place;
  std::uint64_t end = 0;
};

class LogReader {
 public:
  // `reader`: by which name the log knows it.
  LogReader(ReceivedLog& log, std::string reader)
      : log_(log), name_(std::move(reader)), generation_(log.generation()) {}
  // Nothing when nothing came within `timeout`; its bytes live until the next call.
  Result<std::optional<LogEntry>> next(Duration timeout);
  // Records that were read before, again.
  using VisitRecord = std::function<Result<void>(const Record&)>;
  Result<void> read_again(const std::vector<Extent>& extents, const VisitRecord& visit) const;

 private:
  Result<SegmentFile> open_segment(std::uint64_t segment, std::uint64_t offset) const;
  Result<void> open_next();

  ReceivedLog& log_;
  const std::string name_;
  const std::uint64_t generation_;
  std::optional<SegmentFile> file_;
  std::uint64_t segment_ = 0;
};

}  // namespace banyan::replication
