#include "base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <iterator>

#include "base/clock.h"

namespace banyan {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warn", "error"};

struct Settings {
  std::string role = "\"banyan\"";
  std::atomic<Level> least{Level::kInfo};
};

Settings& settings() {
  static Settings instance;
  return instance;
}

// Length of the valid UTF-8 sequence at the start of `text`, 0 when it is not valid.
std::size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead < 0x80                     ? 1
                             : (lead >= 0xC2 && lead < 0xE0) ? 2
                             : (lead >= 0xE0 && lead < 0xF0) ? 3
                             : (lead >= 0xF0 && lead < 0xF5) ? 4
                                                             : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  return length;
}

void append_ascii(std::string& out, char c) {
  if (c == '"' || c == '\\') {
    out += '\\';
    out += c;
  } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
  } else {
    out += c;
  }
}

}  // namespace

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 1) append_ascii(out, text[0]);
    if (length > 1) out += text.substr(0, length);
    if (length == 0) out += "\xEF\xBF\xBD";
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out + '"';
}

LogValue::LogValue(std::string_view text) : json_(json_quoted(text)) {}

void configure_log(std::string_view role, Level least) {
  settings().role = json_quoted(role);
  settings().least = least;
}

void log(Level level, std::string_view message, LogFields fields) {
  if (level < settings().least.load(std::memory_order_relaxed)) return;
  std::string line = fmt::format(
      R"({{"ts":"{}","level":"{}","role":{},"msg":{})", rfc3339(SystemClock().wall()),
      kLevelNames[static_cast<std::size_t>(level)], settings().role, json_quoted(message));
  for (const LogField& field : fields)
    fmt::format_to(std::back_inserter(line), ",{}:{}", json_quoted(field.name), field.value.json());
  line += "}\n";
  // A log line that cannot be written has nowhere to be reported.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace banyan
