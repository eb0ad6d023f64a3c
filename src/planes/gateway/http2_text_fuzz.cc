// FUZZ SOURCES: planes/gateway/http2_text.cc wire/http/http1_parser.cc wire/http/field_parser.cc
// FUZZ SOURCES: wire/http/field_id.cc wire/http/text.cc wire/http/desync.cc wire/http/chunked.cc
// The fields of one HTTP/2 request never become two requests, or one of another method, path, host
// or framing.

#include <string>
#include <vector>

#include "base/check.h"
#include "planes/gateway/http2_text.h"
#include "wire/http/http1_parser.h"
#include "wire/http/text.h"

namespace {

using namespace banyan;  // NOLINT(google-build-using-namespace)

// What the HTTP/2 codec lets through (RFC 9113, sections 8.2 and 8.3).
bool may_arrive(const h2::Field& field) {
  constexpr std::string_view kNever[] = {"connection",        "keep-alive", "proxy-connection",
                                         "transfer-encoding", "upgrade",    "te"};
  for (const std::string_view name : kNever)
    if (field.name == name) return false;
  const std::string_view name = field.name.substr(field.name.starts_with(':') ? 1 : 0);
  for (const char c : name)
    if (c >= 'A' && c <= 'Z') return false;
  return http::is_token(name) &&
         field.value.find_first_of(std::string_view("\0\r\n", 3)) == std::string_view::npos;
}

// "name=value" lines; the first byte says whether a body follows.
std::vector<h2::Field> fields_of(std::string_view text) {
  std::vector<h2::Field> out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const h2::Field field{line.substr(0, equals), line.substr(equals + 1)};
    if (may_arrive(field)) out.push_back(field);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const auto ends = (data[0] & 1) != 0 ? h2::Ends::kYes : h2::Ends::kNo;
  const auto fields = fields_of({reinterpret_cast<const char*>(data) + 1, size - 1});
  const std::string text =
      gateway::http1_text({.fields = fields, .ends = ends, .too_large = false});
  static http::Head head;
  const http::Parsed parsed = http::parse_request(text, head);
  if (parsed.outcome != http::Outcome::kComplete) return 0;
  CHECK(parsed.size == text.size());
  const gateway::Pseudo pseudo = gateway::pseudo_of(fields);
  const bool tunnels = gateway::is_extended_connect(pseudo);
  CHECK(head.method == (tunnels ? "GET" : pseudo.method));
  CHECK(head.target == pseudo.path);
  CHECK(pseudo.authority.empty() || head.authority.find(' ') == std::string_view::npos);
  if (tunnels)
    CHECK(head.is_upgrade);
  else
    CHECK(head.framing != http::Framing::kNone || ends == h2::Ends::kYes ||
          head.find("content-length") != nullptr);

  std::string lines;
  gateway::append_lines(lines, fields);
  CHECK(gateway::fields_of_lines(lines).size() == fields.size());
  return 0;
}
