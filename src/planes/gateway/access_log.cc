#include "planes/gateway/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace banyan::gateway {
namespace {

constexpr std::size_t kBufferBytes = 128 * 1024;
constexpr std::size_t kTargetBytesMax = 2048;

// Bytes outside printable ASCII are escaped one by one, so a line is always valid JSON.
void put_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

void put_text(std::string& out, std::string_view key, std::string_view text) {
  if (text.empty()) return;
  out += ",\"";
  out += key;
  out += "\":\"";
  put_escaped(out, text);
  out += '"';
}

void put_number(std::string& out, std::string_view key, std::uint64_t value) {
  out += ",\"";
  out += key;
  out += "\":";
  const fmt::format_int text(value);
  out.append(text.data(), text.size());
}

std::uint64_t to_us(Duration duration) {
  return duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) / 1000 : 0;
}

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

void AccessLog::stamp(std::string& out) {
  const std::int64_t ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.wall().time_since_epoch())
          .count();
  if (ms / 1000 != stamped_second_) {
    stamped_second_ = ms / 1000;
    second_text_ = rfc3339(clock_.wall()).substr(0, 20);
  }
  out += second_text_;
  const auto rest = static_cast<int>(ms % 1000);
  for (int divisor : {100, 10, 1}) out += static_cast<char>('0' + rest / divisor % 10);
  out += 'Z';
}

void AccessLog::line(const AccessEntry& entry) {
  const std::string_view path = entry.target.substr(0, entry.target.find('?'));
  buffer_ += "{\"ts\":\"";
  stamp(buffer_);
  buffer_ += '"';
  put_text(buffer_, "client", entry.client);
  put_text(buffer_, "method", entry.method);
  put_text(buffer_, "host", entry.host);
  put_text(buffer_, "path", path.substr(0, kTargetBytesMax));
  put_number(buffer_, "status", static_cast<std::uint64_t>(entry.status));
  put_text(buffer_, "route", entry.route);
  put_text(buffer_, "upstream", entry.upstream);
  put_number(buffer_, "bytes_in", entry.bytes_in);
  put_number(buffer_, "bytes_out", entry.bytes_out);
  put_number(buffer_, "us", to_us(entry.took));
  if (entry.held > Duration::zero()) put_number(buffer_, "held_us", to_us(entry.held));
  put_text(buffer_, "trace", entry.trace);
  buffer_ += "}\n";
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
