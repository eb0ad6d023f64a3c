#include "planes/gateway/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace banyan::gateway {
namespace {

constexpr std::size_t kBufferBytes = 128 * 1024;

}  // namespace

Result<std::unique_ptr<AccessLog>> AccessLog::create(const std::string& path, const Clock& clock) {
  auto log = std::make_unique<AccessLog>(Private(), path, clock);
  TRY_VOID(log->reopen());
  log->buffer_.reserve(kBufferBytes + 8192);
  return log;
}

AccessLog::~AccessLog() {
  flush();
  if (fd_ >= 0) ::close(fd_);
}

Result<void> AccessLog::reopen() {
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) {
    return failure(Code::kUnavailable,
                   fmt::format("access log {}: {}", path_, std::strerror(errno)));
  }
  flush();
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  return {};
}

void AccessLog::line(const AccessEntry& entry) {
  format_.append(buffer_, entry);
  ++lines_;
  if (buffer_.size() > kBufferBytes) flush();
}

void AccessLog::flush() {
  std::string_view rest = buffer_;
  while (fd_ >= 0 && !rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      dropped_ += lines_;
      break;
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer_.clear();
  lines_ = 0;
}

}  // namespace banyan::gateway
