#include "planes/files/names.h"

#include <fmt/format.h>

#include <random>

#include "base/hex.h"
#include "base/percent.h"

namespace banyan::files {
namespace {

constexpr std::size_t kKeyBytesMax = 1024;

// Length of the valid UTF-8 sequence at `at`; 0 when there is none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; i++) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<unsigned char>(text[at + 1]);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool outside = (lead == 0xed && second > 0x9f) || (lead == 0xf4 && second > 0x8f);
  return overlong || outside ? 0 : length;
}

bool needs_escape(std::string_view text, std::size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x20 || byte == 0x7f) return true;
  return byte == '%' && at + 2 < text.size() && is_hex(text[at + 1]) && is_hex(text[at + 2]);
}

std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = needs_escape(text, i) ? 0 : utf8_length(text, i);
    if (length > 0) {
      out += text.substr(i, length);
      i += length;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(text[i++]));
    }
  }
  return out;
}

bool is_safe(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  while (true) {
    const auto segment = path.substr(0, path.find('/'));
    if (segment.empty() || segment == "." || segment == ".." || segment.size() > 255) return false;
    if (is_own_name(segment)) return false;
    if (segment.size() == path.size()) return true;
    path.remove_prefix(segment.size() + 1);
  }
}

}  // namespace

Result<std::string> key_of_path(std::string_view prefix, std::string_view path) {
  std::string key = std::string(prefix) + escaped(path);
  if (key.size() > kKeyBytesMax) {
    return failure(Code::kUnsupported, "the name is longer than the 1024 bytes of an object key");
  }
  return key;
}

std::optional<std::string> path_of_key(std::string_view prefix, std::string_view key) {
  if (key.size() > kKeyBytesMax || !key.starts_with(prefix)) return std::nullopt;
  const auto rest = key.substr(prefix.size());
  std::string path = percent_decoded(rest);
  if (!is_safe(path) || escaped(path) != rest) return std::nullopt;
  return path;
}

const std::string& process_token() {
  static const std::string kToken = fmt::format("{:08x}", std::random_device{}());
  return kToken;
}

bool is_own_name(std::string_view name) {
  return name.starts_with(kBarrierPrefix) || name.starts_with(kTemporaryPrefix);
}

}  // namespace banyan::files
