#pragma once
// AccessLog: one JSON line per request, gathered in a worker's own buffer and written with one
// write(2) per flush.
// Belongs to one worker. Several workers may log to one file (O_APPEND).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "planes/gateway/access_line.h"

namespace banyan::gateway {

class AccessLog {
  struct Private {
    explicit Private() = default;
  };

 public:
  AccessLog(Private, std::string path, const Clock& clock)  // use create()
      : path_(std::move(path)), format_(clock) {}
  // Appends to `path`, creating it.
  static Result<std::unique_ptr<AccessLog>> create(const std::string& path, const Clock& clock);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  void set_fields(std::uint32_t fields) { format_.set_fields(fields); }
  // Flushes by itself when the buffer is nearly full.
  void line(const AccessEntry& entry);
  // Call once a second and before stopping. What cannot be written is counted and dropped.
  void flush();
  // Opens the path again, for log rotation.
  Result<void> reopen();
  std::uint64_t lines_dropped() const { return dropped_; }

 private:
  std::string path_;
  AccessLine format_;
  int fd_ = -1;
  std::string buffer_;
  std::uint64_t lines_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace banyan::gateway
