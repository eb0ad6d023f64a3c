#pragma once
// FieldParser: the field lines of a head, strictly (RFC 9112 section 5), and what they say about
// framing and persistence. Part of http1_parser; errors are its outcomes.

#include <string_view>

#include "wire/http/http1_parser.h"

namespace banyan::http {

inline Parsed refused(const char* reason, int status = 400) {
  return {.outcome = Outcome::kRefused, .status = status, .reason = reason};
}
inline Parsed incomplete() {
  return {.outcome = Outcome::kIncomplete};
}
inline Parsed complete(std::size_t size) {
  return {.outcome = Outcome::kComplete, .size = size};
}

// What is known about framing and persistence once all fields have been read.
struct Gathered {
  bool has_length = false;
  bool has_coding = false;
  bool has_host = false;
  bool has_upgrade_field = false;
  bool has_http_upgrade = false;  // to another HTTP: not for a proxy to pass on
  bool has_underscore_framing = false;
  bool has_close = false;
  bool has_keep_alive = false;
  bool has_upgrade_option = false;
  bool nominates_others = false;
};

enum class Direction : std::uint8_t { kRequest, kResponse };

class FieldParser {
 public:
  FieldParser(Head& head, Direction direction, const HeadLimits& limits)
      : head_(head), direction_(direction), limits_(limits) {}

  // Parses the field lines in [p, end), the final empty line included.
  Parsed parse(const char* begin, const char* p, const char* end);
  const Gathered& gathered() const { return gathered_; }
  // Fields named by Connection travel no further.
  void drop_nominated();

 private:
  const char* line(const char* p, const char* end, Parsed& out);
  const char* understand(Field& field, Parsed& out);
  const char* length(Field& field);
  const char* coding(const Field& field, Parsed& out);
  const char* host(const Field& field);
  const char* expect(const Field& field, Parsed& out);
  void connection(std::string_view value);
  void spoofed(const Field& field);

  Head& head_;
  Direction direction_;
  const HeadLimits& limits_;
  Gathered gathered_;
};

bool is_authority(std::string_view text);

}  // namespace banyan::http
