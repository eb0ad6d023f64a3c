#pragma once
// SegmentFile: the records of one segment file, read piece by piece. One thread.

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.h"
#include "planes/replication/log_record.h"

namespace banyan::replication {

class SegmentFile {
 public:
  static Result<SegmentFile> open(const std::filesystem::path& path, std::uint64_t offset = 0);
  SegmentFile(SegmentFile&& other) noexcept
      : handle_(std::exchange(other.handle_, -1)),
        filled_to_(other.filled_to_),
        buffer_(std::move(other.buffer_)),
        at_(other.at_) {}
  SegmentFile& operator=(SegmentFile&& other) noexcept;
  ~SegmentFile();

  // The next record of what was read; nothing when it is not whole. Valid until the next fill().
  Result<std::optional<Record>> take();
  // Reads a piece, no further than `limit` into the file. False at its end.
  Result<bool> fill(std::uint64_t limit);
  // The next record of those before `limit`; nothing behind the last one.
  Result<std::optional<Record>> next(std::uint64_t limit);
  std::uint64_t offset() const { return filled_to_ - (buffer_.size() - at_); }
  std::uint64_t filled_to() const { return filled_to_; }

 private:
  SegmentFile(int handle, std::uint64_t offset) : handle_(handle), filled_to_(offset) {}

  int handle_ = -1;
  std::uint64_t filled_to_ = 0;
  std::string buffer_;
  std::size_t at_ = 0;
};

}  // namespace banyan::replication
