#pragma once
// LogReader: a received log's records in order, from its front; waits at its head. One thread.
//
// A record that is not what was written is kCorruption with Retry::kSafe: recover() cuts it away.
// What is read of a transaction whose connection broke is cut off by the writer; having read it,
// next() fails as kUnavailable and reading begins anew.

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
  explicit LogReader(ReceivedLog& log) : log_(log) {}
  // Nothing when nothing came within `timeout`; its bytes live until the next call.
  Result<std::optional<LogEntry>> next(Duration timeout);

 private:
  Result<void> open_next();

  ReceivedLog& log_;
  std::optional<SegmentFile> file_;
  std::uint64_t segment_ = 0;
};

using VisitRecord = std::function<Result<void>(const Record&)>;
Result<void> read_extents(const ReceivedLog& log, const std::vector<Extent>& extents,
                          const VisitRecord& visit);

}  // namespace banyan::replication
