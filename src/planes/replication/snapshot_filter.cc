#include "planes/replication/snapshot_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace banyan::replication {
namespace {

// Takes a number off the front of `text`, and `separator` behind it when there is one.
bool take_number(std::string_view& text, char separator, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return true;
  if (text.front() != separator) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

Result<SnapshotFilter> SnapshotFilter::parse(std::string_view text) {
  SnapshotFilter filter;
  std::string_view rest = text;
  bool good = std::count(text.begin(), text.end(), ':') == 2 &&
              take_number(rest, ':', filter.xmin_) && take_number(rest, ':', filter.xmax_);
  // A slot's snapshot may end before its beginning: all before the beginning is seen.
  filter.xmax_ = std::max(filter.xmin_, filter.xmax_);
  while (good && !rest.empty()) {
    std::uint64_t xid = 0;
    good = take_number(rest, ',', xid);
    filter.in_progress_.push_back(xid);
  }
  if (!good) return failure(Code::kCorruption, fmt::format("'{}' is not a snapshot", text));
  std::ranges::sort(filter.in_progress_);
  return filter;
}

bool SnapshotFilter::has_seen_full(std::uint64_t xid) const {
  if (xid < xmin_) return true;
  if (xid >= xmax_) return false;
  return !std::ranges::binary_search(in_progress_, xid);
}

bool SnapshotFilter::includes(const SnapshotFilter& earlier) const {
  // What is below our xmin is seen; the rest that the earlier one may have seen must not be
  // running.
  if (earlier.xmax_ > xmax_) return false;
  return std::ranges::none_of(in_progress_,
                              [&](std::uint64_t xid) { return earlier.has_seen_full(xid); });
}

std::uint64_t SnapshotFilter::full(std::uint32_t xid) const {
  constexpr std::uint64_t kEpoch = std::uint64_t{1} << 32;
  std::uint64_t candidate = (xmax_ & ~(kEpoch - 1)) | xid;
  if (candidate > xmax_ + kEpoch / 2 && candidate >= kEpoch)
    candidate -= kEpoch;
  else if (candidate + kEpoch / 2 < xmax_)
    candidate += kEpoch;
  return candidate;
}

}  // namespace banyan::replication
