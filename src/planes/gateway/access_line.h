#pragma once
// AccessLine: what is said of one request, as a line of JSON. Never a header, a body, a cookie or a
// token: the query is left out unless it is asked for, and then the values of parameters that look
// like secrets are struck out. Belongs to one worker.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "wire/http/desync.h"

namespace banyan::gateway {

struct AccessEntry {
  std::string_view client = {};
  std::string_view method = {};
  std::string_view host = {};
  std::string_view target = {};    // its path is cut at 2 KB
  std::string_view route = {};     // id; empty: none matched
  std::string_view upstream = {};  // address; empty: none
  std::string_view trace = {};
  std::string_view id = {};      // the client's own X-Request-Id; empty: none
  std::string_view reason = {};  // why the answer is the gateway's own; empty: it is not
  http::Verdict desync = {};     // left out when compliant
  int status = 0;                // 0: the client had gone
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::int64_t retries = 0;
  Duration took{};
  Duration held{};
  Duration first_byte{};  // until the upstream answered; 0: it did not
};

class AccessLine {
 public:
  enum class Field : std::uint8_t {
    kClient,
    kMethod,
    kHost,
    kPath,
    kQuery,
    kStatus,
    kRoute,
    kUpstream,
    kBytesIn,
    kBytesOut,
    kUs,
    kHeldUs,
    kFirstByteUs,
    kRetries,
    kReason,
    kDesync,
    kDesyncShape,
    kId,
    kTrace,
  };

  explicit AccessLine(const Clock& clock) : clock_(clock) {}

  // Names as they stand in the lines; empty: all but the query. The time is always there.
  static Result<std::uint32_t> parse_fields(const std::vector<std::string>& names);
  void set_fields(std::uint32_t fields) { fields_ = fields; }
  // Appends the line with its end.
  void append(std::string& out, const AccessEntry& entry);

 private:
  static constexpr std::uint32_t kAllButQuery = ~(1U << static_cast<unsigned>(Field::kQuery));
  class Writer;
  void stamp(std::string& out);

  const Clock& clock_;
  std::uint32_t fields_ = kAllButQuery;
  std::int64_t stamped_second_ = -1;
  std::string second_text_;  // "2026-11-20T21:30:00."
};

// "a=1&token=xyz" -> "a=1&token=***"
void append_redacted_query(std::string& out, std::string_view query);

}  // namespace banyan::gateway
