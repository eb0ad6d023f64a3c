#include "wire/pg/lsn.h"

#include <fmt/format.h>

#include <charconv>

namespace banyan::pg {
namespace {

bool parse_hex32(std::string_view text, std::uint64_t& out) {
  if (text.empty() || text.size() > 8) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<Lsn> parse_lsn(std::string_view text) {
  const auto slash = text.find('/');
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  if (slash == std::string_view::npos || !parse_hex32(text.substr(0, slash), high) ||
      !parse_hex32(text.substr(slash + 1), low)) {
    return failure(Code::kInvalidArgument, fmt::format("'{}' is not a WAL position", text));
  }
  return Lsn((high << 32) | low);
}

std::string format_lsn(Lsn lsn) {
  return fmt::format("{:X}/{:X}", lsn.value() >> 32, lsn.value() & 0xFFFFFFFFU);
}

}  // namespace banyan::pg
