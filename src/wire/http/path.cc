#include "wire/http/path.h"

#include "base/hex.h"

namespace banyan::http {
namespace {

bool is_unreserved(int c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

bool needs_work(std::string_view path) {
  return path.find('%') != std::string_view::npos || path.find("//") != std::string_view::npos ||
         path.find("/.") != std::string_view::npos;
}

// Decodes unreserved characters; other escapes become upper case. False: malformed.
bool decode(std::string_view path, std::string& out) {
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    if (i + 2 >= path.size()) return false;
    const int high = hex_value(path[i + 1]);
    const int low = hex_value(path[i + 2]);
    if (high < 0 || low < 0) return false;
    const int byte = high * 16 + low;
    if (byte == 0) return false;
    constexpr std::string_view kUpper = "0123456789ABCDEF";
    if (is_unreserved(byte))
      out += static_cast<char>(byte);
    else
      out.append(
          {'%', kUpper[static_cast<std::size_t>(high)], kUpper[static_cast<std::size_t>(low)]});
    i += 2;
  }
  return true;
}

// Appends the segments of `path` to `out`, resolving dots. False: above the root.
bool resolve(std::string_view path, std::string& out) {
  std::size_t at = 0;
  while (at < path.size()) {
    std::size_t end = path.find('/', at + 1);
    const bool is_last = end == std::string_view::npos;
    if (is_last) end = path.size();
    const std::string_view segment = path.substr(at + 1, end - at - 1);
    const std::string_view name = segment.substr(0, segment.find(';'));
    at = end;
    if (name == "..") {
      if (out.empty()) return false;
      out.resize(out.rfind('/'));
      if (is_last) out += '/';
    } else if (name == "." || segment.empty()) {
      if (is_last) out += '/';
    } else {
      out += '/';
      out += segment;
    }
  }
  if (out.empty()) out = "/";
  return true;
}

}  // namespace

std::optional<std::string_view> normal_path(std::string_view target, std::string& scratch) {
  const std::string_view path = path_of(target);
  if (!needs_work(path)) return path;
  if (!path.starts_with('/')) return std::nullopt;
  std::string decoded;
  if (!decode(path, decoded)) return std::nullopt;
  scratch.clear();
  if (!resolve(decoded, scratch)) return std::nullopt;
  return scratch;
}

}  // namespace banyan::http
