// FUZZ SOURCES: planes/gateway/cohort.cc planes/gateway/cookie.cc planes/gateway/rewrite.cc
// FUZZ SOURCES: planes/gateway/route_table.cc planes/gateway/route_conditions.cc spec/cidr.cc
// FUZZ SOURCES: spec/value.cc wire/http/path.cc wire/http/text.cc wire/http/head_writer.cc
// FUZZ SOURCES: wire/http/http1_parser.cc wire/http/field_parser.cc wire/http/field_id.cc
// What tells clients apart, out of whatever they send: a cookie, a query, a claim of a token.

#include <array>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "planes/gateway/cohort.h"
#include "planes/gateway/cookie.h"

namespace {

using namespace banyan;  // NOLINT(google-build-using-namespace)

void check_sides(const std::optional<std::string>& key) {
  static const std::array<spec::Weight, 2> kLess = {{{"a", 90}, {"b", 10}}};
  static const std::array<spec::Weight, 2> kMore = {{{"a", 10}, {"b", 90}}};
  const std::size_t side = gateway::side_of(kLess, "salt", key);
  CHECK(side < 2);
  CHECK(side == 0 || gateway::side_of(kMore, "salt", key) == 1);  // no member ever leaves
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::array<http::Field, 2> fields = {
      {{"Cookie", text, http::FieldId::kOther, false},
       {"Authorization", text, http::FieldId::kOther, false}}};
  const gateway::RequestFacts facts{.method = "GET",
                                    .host = "a",
                                    .path = "/",
                                    .query = text,
                                    .client_ip = text,
                                    .fields = fields};
  for (const char* by : {"client", "cookie", "header", "claim"}) {
    const std::string name = std::string_view(by) == "header" ? "authorization" : "sub";
    check_sides(gateway::client_key({.by = by, .name = name, .salt = {}}, facts));
  }
  (void)gateway::unverified_claim("Bearer " + text, "sub");
  std::string value;
  CHECK(!gateway::find_parameter(text, "a", &value) || value.size() <= text.size());
  const auto cookie = gateway::cookie_value(text, "sub");
  CHECK(!cookie || cookie->empty() ||
        (cookie->data() >= text.data() && cookie->data() + cookie->size() <= text.data() + size));
  return 0;
}
