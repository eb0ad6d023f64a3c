#include "base/clock.h"

#include <fmt/format.h>

#include <ctime>

namespace banyan {

std::string rfc3339(Wall time) {
  const long ms = to_ms(time.time_since_epoch());
  const std::time_t seconds = ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, ms % 1000);
}

}  // namespace banyan
