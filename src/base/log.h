#pragma once
// Log: JSON lines with a fixed lower-case message and fields, one write(2) per line to stderr.
//   log_info("table copied", {{"table", name}, {"rows", rows}});
// Never a row value, body, cookie, token or password. Any thread.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace banyan {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError };

// One value of a log line: text is escaped, numbers and booleans are written bare.
class LogValue {
 public:
  LogValue(const char* text) : LogValue(std::string_view(text)) {}         // NOLINT
  LogValue(const std::string& text) : LogValue(std::string_view(text)) {}  // NOLINT
  LogValue(std::string_view text);                                         // NOLINT
  LogValue(bool value) : json_(value ? "true" : "false") {}                // NOLINT
  template <class T>
    requires std::is_arithmetic_v<T>
  LogValue(T value) : json_(std::to_string(value)) {}  // NOLINT
  const std::string& json() const { return json_; }

 private:
  std::string json_;
};

struct LogField {
  std::string_view name;
  LogValue value;
};
using LogFields = std::initializer_list<LogField>;

// Sets the "role" field of every line of this process and the least level written; call once in
// main.
void configure_log(std::string_view role, Level least);
void log(Level level, std::string_view message, LogFields fields);

inline void log_debug(std::string_view message, LogFields fields = {}) {
  log(Level::kDebug, message, fields);
}
inline void log_info(std::string_view message, LogFields fields = {}) {
  log(Level::kInfo, message, fields);
}
inline void log_warn(std::string_view message, LogFields fields = {}) {
  log(Level::kWarn, message, fields);
}
inline void log_error(std::string_view message, LogFields fields = {}) {
  log(Level::kError, message, fields);
}

// A JSON string literal with its quotes; invalid UTF-8 is replaced. For code that writes JSON by
// hand.
std::string json_quoted(std::string_view text);

}  // namespace banyan
