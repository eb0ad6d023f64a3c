#include "planes/replication/log_reader.h"

namespace banyan::replication {
namespace {

std::unexpected<Error> damaged() {
  return failure(Code::kCorruption, "a record of the received log is not what was written",
                 Retry::kSafe);
}

}  // namespace

// A file that is open before the log is closed keeps what it held: nothing is written over.
Result<SegmentFile> LogReader::open_segment(std::uint64_t segment, std::uint64_t offset) const {
  TRY(auto file, SegmentFile::open(log_.path(segment), offset));
  if (log_.generation() == generation_) return file;
  return failure(Code::kUnavailable, "the received log is opened anew", Retry::kSafe);
}

Result<void> LogReader::open_next() {
  segment_ = segment_ == 0 ? log_.front(name_) : segment_ + 1;
  TRY(file_, open_segment(segment_, 0));
  return {};
}

Result<std::optional<LogEntry>> LogReader::next(Duration timeout) {
  bool has_waited = false;
  while (true) {
    if (!file_ && log_.front(name_) != 0) TRY_VOID(open_next());
    const LogPlace place{.segment = segment_, .offset = file_ ? file_->offset() : 0};
    if (file_) {
      auto record = file_->take();
      if (!record) return damaged();
      if (*record) return LogEntry{.record = **record, .place = place, .end = file_->offset()};
      const auto now = log_.readable(name_, place);
      if (log_.generation() != generation_ || file_->filled_to() > now.bytes) {
        return failure(Code::kUnavailable, "the source sends a transaction again", Retry::kSafe);
      }
      TRY(const bool has_more, file_->fill(now.bytes));
      if (has_more) continue;
      if (place.offset < now.bytes) return damaged();
      if (now.has_next) {
        TRY_VOID(open_next());
        continue;
      }
    }
    if (has_waited || timeout == 0ms) return std::optional<LogEntry>();
    log_.wait_beyond(place, timeout);
    has_waited = true;
  }
}

Result<void> LogReader::read_again(const std::vector<Extent>& extents,
                                   const VisitRecord& visit) const {
  for (const auto& extent : extents) {
    TRY(auto file, open_segment(extent.place.segment, extent.place.offset));
    while (file.offset() < extent.end) {
      const auto record = file.next(extent.end);
      if (!record || !*record) return damaged();
      TRY_VOID(visit(**record));
    }
  }
  return {};
}

}  // namespace banyan::replication
