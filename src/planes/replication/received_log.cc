#include "planes/replication/received_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <ranges>
#include <vector>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/segment_file.h"

namespace banyan::replication {
namespace {

namespace fs = std::filesystem;

constexpr auto kNoLimit = std::numeric_limits<std::uint64_t>::max();

std::unexpected<Error> disk_failure(const fs::path& path) {
  return std::unexpected(
      Error(Code::kUnavailable,
            fmt::format("cannot keep received changes in {}: {}", path.string(),
                        std::strerror(errno)),
            Retry::kSafe)
          .with_remedy("Make room on that file system; receiving goes on by itself."));
}

Result<void> write_fully(int handle, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const auto written = ::write(handle, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return disk_failure(path);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> sync_path(const fs::path& path) {
  const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0 && errno == ENOENT) return {};  // a segment that was not needed any more
  const bool is_synced = handle >= 0 && ::fsync(handle) == 0;
  if (handle >= 0) ::close(handle);
  return is_synced ? Result<void>() : disk_failure(path);
}

// The segments' numbers, ascending.
std::vector<std::uint64_t> segment_numbers(const fs::path& directory) {
  std::vector<std::uint64_t> numbers;
  std::error_code trouble;
  for (const auto& entry : fs::directory_iterator(directory, trouble)) {
    const auto name = entry.path().stem().string();
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (entry.path().extension() == ".log" && error == std::errc() && *end == '\0') {
      numbers.push_back(number);
    }
  }
  std::ranges::sort(numbers);
  return numbers;
}

}  // namespace

fs::path ReceivedLog::path(std::uint64_t segment) const {
  return directory_ / fmt::format("{:012}.log", segment);
}

// ---- what a predecessor left

Result<void> ReceivedLog::recover(const fs::path& directory, const LogIdentity& identity,
                                  pg::Lsn applied) {
  close();
  directory_ = directory;
  identity_ = identity;
  std::error_code trouble;
  fs::create_directories(directory, trouble);
  if (trouble) {
    return failure(Code::kInternal,
                   fmt::format("cannot make {}: {}", directory.string(), trouble.message()));
  }
  for (const auto number : segment_numbers(directory)) {
    if (!go_on_with(number)) break;
  }
  auto good = state_.with([&](State& state) {
    state.end = outline_.complete();
    return state.segments.size();
  });
  if (good == 0 || !covers(applied)) {
    good = 0;
    outline_ = StreamOutline(applied);
  }
  TRY_VOID(remove_all_but(good));
  return fail_point("spool.recovered");
}

// False: from here on the log is of no use. A segment that is damaged is cut before the damage.
bool ReceivedLog::go_on_with(std::uint64_t number) {
  const auto last = state_.with([](const State& state) {
    return state.segments.empty() ? Segment() : state.segments.back();
  });
  if (last.number != 0 && number != last.number + 1) return false;
  auto file = SegmentFile::open(path(number));
  if (!file) return false;
  auto record = file->next(kNoLimit);
  if (!record || !*record || !begins_rightly(**record, number)) return false;
  const auto begins = outline_.complete();
  auto boundary = file->offset();
  while ((record = file->next(kNoLimit)) && *record && outline_.note(**record)) {
    if (outline_.is_between()) boundary = file->offset();
  }
  state_.with([&](State& state) {
    state.segments.push_back({.number = number, .begins = begins, .bytes = boundary});
  });
  unsynced_.insert(number);
  number_ = number;
  std::error_code trouble;
  const bool is_whole = fs::file_size(path(number), trouble) == boundary;
  if (!is_whole) {
    log_info("a received log is cut", {{"file", path(number).string()}, {"bytes", boundary}});
    fs::resize_file(path(number), boundary, trouble);
  }
  return is_whole && !trouble;
}

bool ReceivedLog::begins_rightly(const Record& record, std::uint64_t number) {
  const auto head = decode_head(record);
  if (!head || head->identity != identity_ || head->number != number) return false;
  const bool is_first = state_.with([](const State& state) { return state.segments.empty(); });
  if (!is_first && head->begins != outline_.complete()) return false;
  if (is_first || head->is_join) outline_ = StreamOutline(head->begins);
  restart_lsn_ = head->restart_lsn;
  return true;
}

Result<void> ReceivedLog::remove_all_but(std::size_t good) {
  const auto first = state_.with([&](State& state) {
    state.segments.resize(good);
    state.end = outline_.complete();
    return good == 0 ? 0 : state.segments.front().number;
  });
  for (const auto number : segment_numbers(directory_)) {
    if (number >= first && number < first + good) continue;
    std::error_code trouble;
    fs::remove(path(number), trouble);
    if (trouble) return failure(Code::kInternal, "cannot remove " + path(number).string());
  }
  number_ = good == 0 ? 0 : first + good - 1;
  return {};
}

void ReceivedLog::close() {
  if (handle_ >= 0) (void)flush();  // what is not written is asked for again
  if (handle_ >= 0) ::close(handle_);
  handle_ = -1;
  buffer_.clear();
  unsynced_.clear();
  synced_ = {};
  outline_ = StreamOutline();
  restart_lsn_ = {};
  number_ = 0;
  ++generation_;
  state_.change([](State& state) {
    state.segments.clear();
    state.end = {};
    for (auto& [name, reader] : state.readers) reader = {.read = {}, .durable = reader.durable};
  });
}

bool ReceivedLog::begins_before(pg::Lsn applied) const {
  return state_.with([&](const State& state) {
    return (state.segments.empty() ? state.end : state.segments.front().begins) <= applied;
  });
}

pg::Lsn ReceivedLog::readable_end() const {
  return state_.with([](const State& state) { return state.end; });
}

// ---- the writer

Result<void> ReceivedLog::join(pg::Lsn restart_lsn) {
  TRY_VOID(cut_to_boundary());
  outline_ = StreamOutline(outline_.complete());
  restart_lsn_ = restart_lsn;
  TRY_VOID(begin_segment(true));
  return fail_point("spool.joined");
}

Result<void> ReceivedLog::cut_to_boundary() {
  if (handle_ < 0) return {};
  buffer_.resize(boundary_ > written_ ? boundary_ - written_ : 0);
  TRY_VOID(flush());
  if (boundary_ == written_) return {};
  if (::ftruncate(handle_, static_cast<off_t>(boundary_)) != 0) return disk_failure(path(number_));
  written_ = boundary_;
  publish();
  return {};
}

Result<void> ReceivedLog::begin_segment(bool is_join) {
  const auto number = number_ + 1;
  const SegmentHead head{.identity = identity_,
                         .number = number,
                         .begins = outline_.complete(),
                         .restart_lsn = restart_lsn_,
                         .is_join = is_join};
  std::string bytes;
  append_record(bytes,
                {.kind = RecordKind::kHead, .lsn = head.begins, .payload = encode_head(head)});
  for (const auto& [id, text] : outline_.relations()) {
    append_record(bytes, {.kind = RecordKind::kData, .lsn = head.begins, .payload = text});
  }
  const int handle =
      ::open(path(number).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (handle < 0) return disk_failure(path(number));
  if (auto written = write_fully(handle, bytes, path(number)); !written) {
    ::close(handle);
    ::unlink(path(number).c_str());
    return written;
  }
  if (handle_ >= 0) ::close(handle_);
  handle_ = handle;
  number_ = number;
  written_ = boundary_ = bytes.size();
  unsynced_.insert(number);
  state_.change([&](State& state) {
    state.segments.push_back({.number = number, .begins = head.begins, .bytes = written_});
  });
  return fail_point("spool.begun");
}

Result<void> ReceivedLog::append(const Record& record) {
  TRY_VOID(outline_.note(record));
  append_record(buffer_, record);
  if (!outline_.is_between()) return {};
  boundary_ = written_ + buffer_.size();
  if (boundary_ < segment_bytes_) return {};
  TRY_VOID(flush());
  return begin_segment(false);
}

Result<void> ReceivedLog::flush() {
  if (buffer_.empty()) return {};
  if (auto written = write_fully(handle_, buffer_, path(number_)); !written) {
    // The next try begins where this one did.
    return ::ftruncate(handle_, static_cast<off_t>(written_)) == 0 ? written
                                                                   : disk_failure(path(number_));
  }
  written_ += buffer_.size();
  buffer_.clear();
  publish();
  return fail_point("spool.flushed");
}

void ReceivedLog::publish() {
  state_.change([&](State& state) {
    state.segments.back().bytes = written_;
    state.end = outline_.complete();
  });
}

Result<pg::Lsn> ReceivedLog::sync() {
  TRY_VOID(flush());
  if (synced_ == outline_.complete()) return synced_;
  // After one failure the system may call clean what is not on disk: never believed again.
  if (has_sync_failed_) return failure(Code::kUnavailable, "an earlier fsync has failed");
  has_sync_failed_ = true;
  for (const auto number : unsynced_) TRY_VOID(sync_path(path(number)));
  TRY_VOID(sync_path(directory_));
  has_sync_failed_ = false;
  TRY_VOID(fail_point("spool.synced"));
  unsynced_ = {number_};
  synced_ = outline_.complete();
  return synced_;
}

// ---- the readers

// All before it is durable for the reader, and in no transaction that it still collects.
std::uint64_t ReceivedLog::State::first_needed(const LogReading& reader) const {
  if (segments.empty()) return 0;
  std::size_t at = 0;
  while (at + 1 < segments.size() && segments[at].number < reader.keep &&
         segments[at + 1].begins <= reader.durable) {
    ++at;
  }
  return segments[at].number;
}

std::int64_t ReceivedLog::State::unread(const LogReading& reader) const {
  std::int64_t unread = 0;
  for (const auto& segment : segments) {
    if (segment.number < reader.read.segment) continue;
    const bool is_read = segment.number == reader.read.segment;
    unread += static_cast<std::int64_t>(segment.bytes - (is_read ? reader.read.offset : 0));
  }
  return unread;
}

void ReceivedLog::add_reader(const std::string& reader) {
  state_.with([&](State& state) { state.readers.try_emplace(reader); });
}

void ReceivedLog::remove_reader(const std::string& reader) {
  state_.with([&](State& state) { state.readers.erase(reader); });
}

void ReceivedLog::set_durable(const std::string& reader, pg::Lsn durable) {
  state_.with([&](State& state) {
    const auto known = state.readers.find(reader);
    if (known != state.readers.end()) known->second.durable = durable;
  });
}

std::map<std::string, LogReading> ReceivedLog::readers() const {
  return state_.with([](const State& state) { return state.readers; });
}

pg::Lsn ReceivedLog::durable() const {
  return state_.with([](const State& state) {
    if (state.readers.empty()) return pg::Lsn();
    return std::ranges::min(state.readers | std::views::values |
                            std::views::transform(&LogReading::durable));
  });
}

ReceivedLog::Readable ReceivedLog::readable(const std::string& reader, const LogPlace& read) {
  return state_.with([&](State& state) -> Readable {
    if (const auto known = state.readers.find(reader); known != state.readers.end()) {
      known->second.read = read;
    }
    for (const auto& segment : state.segments) {
      if (segment.number != read.segment) continue;
      return {.bytes = segment.bytes, .has_next = segment.number != state.segments.back().number};
    }
    return {};
  });
}

void ReceivedLog::wait_beyond(const LogPlace& read, Duration timeout) {
  state_.wait_for(timeout, [&](const State& state) {
    if (state.segments.empty()) return false;
    const auto& last = state.segments.back();
    return last.number != read.segment || last.bytes != read.offset;
  });
}

std::uint64_t ReceivedLog::front(const std::string& reader) const {
  return state_.with([&](const State& state) {
    const auto known = state.readers.find(reader);
    return state.first_needed(known == state.readers.end() ? LogReading() : known->second);
  });
}

Result<void> ReceivedLog::trim(const std::string& reader, pg::Lsn durable, std::uint64_t keep) {
  std::vector<std::uint64_t> gone;
  state_.with([&](State& state) {
    const auto own = state.readers.find(reader);
    if (own == state.readers.end()) return;
    own->second.durable = durable;
    own->second.keep = keep;
    auto needed = state.first_needed(own->second);
    for (const auto& [name, other] : state.readers) {
      needed = std::min(needed, state.first_needed(other));
    }
    while (!state.segments.empty() && state.segments.front().number < needed) {
      gone.push_back(state.segments.front().number);
      state.segments.pop_front();
    }
  });
  for (const auto number : gone) {
    TRY_VOID(fail_point("spool.trimmed"));
    ::unlink(path(number).c_str());
  }
  return {};
}

LogStanding ReceivedLog::standing(const std::string& reader) const {
  return state_.with([&](const State& state) {
    LogStanding standing{.segments = static_cast<int>(state.segments.size())};
    for (const auto& segment : state.segments) {
      standing.bytes += static_cast<std::int64_t>(segment.bytes);
    }
    const auto known = state.readers.find(reader);
    standing.unread = state.unread(known == state.readers.end() ? LogReading() : known->second);
    return standing;
  });
}

std::int64_t ReceivedLog::unread() const {
  return state_.with([](const State& state) {
    std::int64_t most = 0;
    for (const auto& [name, reader] : state.readers) most = std::max(most, state.unread(reader));
    return most;
  });
}

}  // namespace banyan::replication
