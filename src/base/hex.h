#pragma once
// Hexadecimal digits (RFC 4648, section 8).

#include <optional>
#include <string>
#include <string_view>

namespace banyan {

// -1 when it is no digit; upper and lower case are the same.
constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr bool is_hex(char c) {
  return hex_value(c) >= 0;
}

// Two lower-case digits a byte.
inline std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// Nothing when `text` is not made of whole bytes.
inline std::optional<std::string> unhex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    if (!is_hex(text[i]) || !is_hex(text[i + 1])) return std::nullopt;
    bytes += static_cast<char>(hex_value(text[i]) * 16 + hex_value(text[i + 1]));
  }
  return text.size() % 2 == 0 ? std::optional(bytes) : std::nullopt;
}

}  // namespace banyan
