#pragma once
// AccessLog: one JSON line per request, gathered in a worker's own buffer and written with one
// write(2) per flush. Paths are logged without their query; never headers or bodies.
// Belongs to one worker. Several workers may log to one file (O_APPEND).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"

namespace banyan::gateway {

struct AccessEntry {
  std::string_view client = {};
  std::string_view method = {};
  std::string_view host = {};
  std::string_view target = {};    // cut at '?' and at 2 KB
  std::string_view route = {};     // id; empty: none matched
  std::string_view upstream = {};  // address; empty: none
  std::string_view trace = {};
  int status = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  Duration took{};
  Duration held{};
};

class AccessLog {
  struct Private {
    explicit Private() = default;
  };

 public:
  AccessLog(Private, std::string path, const Clock& clock)  // use create()
      : path_(std::move(path)), clock_(clock) {}
  // Appends to `path`, creating it.
  static Result<std::unique_ptr<AccessLog>> create(const std::string& path, const Clock& clock);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // Flushes by itself when the buffer is nearly full.
  void line(const AccessEntry& entry);
  // Call once a second and before stopping. What cannot be written is counted and dropped.
  void flush();
  // Opens the path again, for log rotation.
  Result<void> reopen();
  std::uint64_t lines_dropped() const { return dropped_; }

 private:
  void stamp(std::string& out);

  std::string path_;
  const Clock& clock_;
  int fd_ = -1;
  std::string buffer_;
  std::uint64_t lines_ = 0;
  std::uint64_t dropped_ = 0;
  std::int64_t stamped_second_ = -1;
  std::string second_text_;  // "2026-11-20T21:30:00."
};

}  // namespace banyan::gateway
