#include "planes/replication/segment_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace banyan::replication {
namespace {

constexpr std::uint64_t kPiece = 256 << 10;

}  // namespace

Result<SegmentFile> SegmentFile::open(const std::filesystem::path& path, std::uint64_t offset) {
  const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle >= 0) return SegmentFile(handle, offset);
  return failure(Code::kCorruption, "cannot read " + path.string() + ": " + std::strerror(errno),
                 Retry::kSafe);
}

SegmentFile& SegmentFile::operator=(SegmentFile&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(filled_to_, other.filled_to_);
  std::swap(buffer_, other.buffer_);
  std::swap(at_, other.at_);
  return *this;
}

SegmentFile::~SegmentFile() {
  if (handle_ >= 0) ::close(handle_);
}

Result<std::optional<Record>> SegmentFile::take() {
  auto rest = std::string_view(buffer_).substr(at_);
  TRY(auto record, take_record(rest));
  at_ = buffer_.size() - rest.size();
  return record;
}

Result<bool> SegmentFile::fill(std::uint64_t limit) {
  if (filled_to_ >= limit) return false;
  buffer_.erase(0, at_);
  at_ = 0;
  const auto kept = buffer_.size();
  buffer_.resize(kept + std::min(kPiece, limit - filled_to_));
  ssize_t got = -1;
  do {
    got = ::pread(handle_, buffer_.data() + kept, buffer_.size() - kept,
                  static_cast<off_t>(filled_to_));
  } while (got < 0 && errno == EINTR);
  buffer_.resize(kept + static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  filled_to_ += static_cast<std::uint64_t>(std::max<ssize_t>(0, got));
  if (got >= 0) return got > 0;
  return failure(Code::kCorruption,
                 std::string("cannot read the received log: ") + std::strerror(errno),
                 Retry::kSafe);
}

Result<std::optional<Record>> SegmentFile::next(std::uint64_t limit) {
  while (true) {
    TRY(auto record, take());
    if (record) return record;
    TRY(const bool has_more, fill(limit));
    if (!has_more) return std::optional<Record>();
  }
}

}  // namespace banyan::replication
