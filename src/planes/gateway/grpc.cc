#include "planes/gateway/grpc.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace banyan::gateway {
namespace {

constexpr std::size_t kPrefix = 5;

}  // namespace

std::optional<Duration> grpc_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  long value = 0;
  const char* const end = text.data() + text.size() - 1;
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end || text.front() == '-') return std::nullopt;
  switch (text.back()) {
    case 'H':
      return std::chrono::hours(std::min(value, 10'000L));
    case 'M':
      return std::chrono::minutes(value);
    case 'S':
      return std::chrono::seconds(value);
    case 'm':
      return std::chrono::milliseconds(value);
    case 'u':
      return std::chrono::microseconds(value);
    case 'n':
      return std::chrono::nanoseconds(value);
    default:
      return std::nullopt;
  }
}

int grpc_status_of(int http_status) {
  switch (http_status) {
    case 401:
      return 16;  // UNAUTHENTICATED
    case 403:
      return 7;  // PERMISSION_DENIED
    case 404:
      return 12;  // UNIMPLEMENTED
    case 408:
    case 504:
      return 4;  // DEADLINE_EXCEEDED
    case 413:
      return 8;  // RESOURCE_EXHAUSTED
    case 429:
    case 502:
    case 503:
      return 14;  // UNAVAILABLE
    default:
      return 13;  // INTERNAL
  }
}

std::string grpc_message(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = c >= 0x20 && c < 0x7f && c != '%';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

bool is_grpc_type(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  return content_type.starts_with(kGrpc) && !content_type.substr(kGrpc.size()).starts_with("-web");
}

// To the end of the message under way, or of what there is.
std::size_t GrpcMessages::step(std::string_view bytes) {
  std::size_t at = 0;
  for (; prefix_ < kPrefix && at < bytes.size(); ++at, ++prefix_)
    if (prefix_ > 0) left_ = left_ << 8 | static_cast<unsigned char>(bytes[at]);
  if (prefix_ < kPrefix) return at;
  const std::size_t taken = std::min<std::size_t>(left_, bytes.size() - at);
  left_ -= static_cast<std::uint32_t>(taken);
  if (left_ == 0) {
    prefix_ = 0;
    ++count_;
  }
  return at + taken;
}

void GrpcMessages::take(std::string_view bytes) {
  while (!bytes.empty()) bytes.remove_prefix(step(bytes));
}

std::size_t GrpcMessages::take_rest(std::string_view bytes) {
  return at_boundary() ? 0 : step(bytes);
}

std::size_t GrpcMessages::take_whole(std::string_view bytes) {
  GrpcMessages ahead = *this;
  std::size_t whole = 0;
  bool found = at_boundary();
  for (std::size_t at = 0; at < bytes.size();) {
    at += ahead.step(bytes.substr(at));
    if (!ahead.at_boundary()) continue;
    found = true;
    whole = at;
    *this = ahead;
  }
  if (found) return whole;
  *this = ahead;
  return bytes.size();
}

}  // namespace banyan::gateway
