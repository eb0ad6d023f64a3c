#include "planes/replication/transaction_spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/crc32c.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kBuffer = 64 << 10;
constexpr std::size_t kRead = 256 << 10;
constexpr std::size_t kPayloadMost = std::size_t{1} << 30;  // what the server's messages may have

struct Header {
  std::uint32_t length;
  std::uint32_t crc;
  std::uint32_t subxid;
};

std::unexpected<Error> disk_failure(const std::filesystem::path& path) {
  return std::unexpected(
      Error(Code::kUnavailable,
            fmt::format("cannot keep a transaction in {}: {}", path.string(), std::strerror(errno)),
            Retry::kSafe)
          .with_remedy("Make room on that file system; the stream goes on by itself. Transactions "
                       "larger than the source's logical_decoding_work_mem are kept there until "
                       "they end."));
}

// Reads exactly `size` bytes; zero at the end of the file.
Result<std::size_t> read_fully(int handle, char* to, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const auto got = ::read(handle, to + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failure(Code::kUnavailable, std::strerror(errno), Retry::kSafe);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

// Reads a file piece by piece.
class Reader {
 public:
  explicit Reader(int handle) : handle_(handle) {}
  // The next `size` bytes, or fewer at the end. Valid until the next call.
  Result<std::string_view> take(std::size_t size) {
    if (buffer_.size() - at_ < size) {
      buffer_.erase(0, at_);
      at_ = 0;
      const auto kept = buffer_.size();
      buffer_.resize(std::max(size, kRead));
      TRY(const auto got, read_fully(handle_, buffer_.data() + kept, buffer_.size() - kept));
      buffer_.resize(kept + got);
    }
    const auto taken = std::string_view(buffer_).substr(at_, size);
    at_ += taken.size();
    return taken;
  }

 private:
  int handle_;
  std::string buffer_;
  std::size_t at_ = 0;
};

std::unexpected<Error> damaged() {
  return failure(Code::kCorruption, "a record of the transaction spool is not what was written",
                 Retry::kSafe);
}

}  // namespace

Result<TransactionSpool> TransactionSpool::open(std::filesystem::path directory) {
  std::error_code trouble;
  std::filesystem::create_directories(directory, trouble);
  if (trouble) {
    return failure(Code::kInternal,
                   fmt::format("cannot make {}: {}", directory.string(), trouble.message()));
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory, trouble)) {
    if (entry.path().extension() == ".xid") std::filesystem::remove(entry.path(), trouble);
  }
  return TransactionSpool(std::move(directory));
}

TransactionSpool::~TransactionSpool() {
  while (!files_.empty()) forget(files_.begin()->first);
}

std::filesystem::path TransactionSpool::path(std::uint32_t xid) const {
  return directory_ / fmt::format("{}.xid", xid);
}

Result<TransactionSpool::File*> TransactionSpool::file(std::uint32_t xid) {
  auto& file = files_[xid];
  if (file.handle >= 0) return &file;
  file.handle = ::open(path(xid).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file.handle < 0) return disk_failure(path(xid));
  return &file;
}

Result<void> TransactionSpool::append(std::uint32_t xid, std::uint32_t subxid,
                                      std::string_view payload) {
  TRY(auto* to, file(xid));
  const Header header{.length = static_cast<std::uint32_t>(payload.size()),
                      .crc = crc32c(payload),
                      .subxid = subxid};
  to->buffer.append(reinterpret_cast<const char*>(&header), sizeof(header));
  to->buffer.append(payload);
  to->bytes += sizeof(header) + payload.size();
  bytes_ += sizeof(header) + payload.size();
  return to->buffer.size() < kBuffer ? Result<void>() : flush(*to);
}

Result<void> TransactionSpool::flush(File& file) {
  std::string_view rest(file.buffer);
  while (!rest.empty()) {
    const auto written = ::write(file.handle, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return disk_failure(directory_);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  file.buffer.clear();
  return {};
}

void TransactionSpool::abort(std::uint32_t xid, std::uint32_t subxid) {
  if (xid == subxid) return forget(xid);
  if (const auto found = files_.find(xid); found != files_.end()) {
    found->second.undone.insert(subxid);
  }
}

void TransactionSpool::forget(std::uint32_t xid) {
  const auto found = files_.find(xid);
  if (found == files_.end()) return;
  bytes_ -= found->second.bytes;
  if (found->second.handle >= 0) ::close(found->second.handle);
  files_.erase(found);
  std::error_code gone;
  std::filesystem::remove(path(xid), gone);
}

Result<void> TransactionSpool::replay(std::uint32_t xid, const Visit& visit) {
  const auto found = files_.find(xid);
  if (found == files_.end()) return {};
  TRY_VOID(flush(found->second));
  if (::lseek(found->second.handle, 0, SEEK_SET) != 0) return disk_failure(path(xid));
  Reader reader(found->second.handle);
  while (true) {
    TRY(const auto head, reader.take(sizeof(Header)));
    if (head.empty()) break;
    if (head.size() != sizeof(Header)) return damaged();
    Header header{};
    std::memcpy(&header, head.data(), sizeof(header));
    if (header.length > kPayloadMost) return damaged();
    TRY(const auto payload, reader.take(header.length));
    if (payload.size() != header.length || crc32c(payload) != header.crc) return damaged();
    TRY_VOID(visit(payload, found->second.undone.contains(header.subxid)));
  }
  forget(xid);
  return {};
}

}  // namespace banyan::replication
