// FUZZ SOURCES: planes/gateway/rewrite.cc planes/gateway/cookie.cc planes/gateway/route_table.cc
// FUZZ SOURCES: planes/gateway/route_conditions.cc spec/cidr.cc spec/value.cc wire/http/path.cc
// FUZZ SOURCES: wire/http/http1_parser.cc wire/http/field_parser.cc wire/http/field_id.cc
// FUZZ SOURCES: wire/http/text.cc
// Whatever a backend answers, the edited head is a head, framed as it was: no Location, Refresh or
// Set-Cookie (paths, domains, attributes) makes a line of its own.

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "planes/gateway/cookie.h"
#include "planes/gateway/rewrite.h"
#include "wire/http/http1_parser.h"

namespace {

using namespace banyan;  // NOLINT(google-build-using-namespace)

gateway::RouteSpec shop() {
  gateway::RouteSpec route{.id = "shop", .methods = {}, .host = {}, .path = "/shop/*", .to = "b"};
  route.rules.rewrite = spec::Rewrite{.prefix = "/app", .host = "shop.internal"};
  return route;
}

void check_edited(const std::string& head, std::size_t fields, http::Framing framing) {
  static const gateway::RouteSpec route = shop();
  const gateway::ResponseScene scene{
      .scheme = "https", .authority = "docs.example", .upstream = "127.0.0.1:8000"};
  const std::string edited = gateway::edited_response_head(head, route, scene);
  static http::Head again;
  const http::Parsed parsed = http::parse_response(edited, http::Answers::kOther, again,
                                                   {.head_bytes_max = std::size_t{1} << 20});
  CHECK(parsed.outcome == http::Outcome::kComplete && parsed.size == edited.size());
  CHECK(again.fields().size() == fields && again.framing == framing);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  static http::Head head;
  const http::Parsed parsed = http::parse_response(bytes, http::Answers::kOther, head);
  if (parsed.outcome != http::Outcome::kComplete) return 0;
  const std::string raw(head.raw);
  for (const http::Field& field : head.fields()) {
    const auto value = gateway::cookie_value(field.value, "sessionid");
    CHECK(!value || value->size() <= field.value.size());
  }
  check_edited(raw, head.fields().size(), head.framing);
  return 0;
}
