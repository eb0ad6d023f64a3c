// FUZZ SOURCES: planes/gateway/snapshot.cc planes/gateway/route_table.cc
// FUZZ SOURCES: planes/gateway/route_conditions.cc planes/gateway/access_line.cc
// FUZZ SOURCES: spec/traffic_json.cc spec/json_reader.cc spec/cidr.cc spec/value.cc
// FUZZ SOURCES: wire/http/text.cc wire/http/path.cc wire/http/desync.cc base/clock.cc
// Input: the JSON of a snapshot, then after a NUL a method, a host and a target. A snapshot that is
// taken is equal to what its own JSON gives; whichever route is found is the one that `explain`
// takes, and really fits.

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/check.h"
#include "planes/gateway/route_table.h"
#include "planes/gateway/snapshot.h"
#include "wire/http/path.h"

namespace {

using namespace banyan::gateway;  // NOLINT(google-build-using-namespace)

std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

void check_match(const RouteTable& table, std::string_view request) {
  const std::string_view method = take_word(request);
  const std::string_view host = take_word(request);
  std::string scratch;
  const std::string target = "/" + std::string(request);
  const auto path = banyan::http::normal_path(target, scratch);
  if (!path) return;
  const RequestFacts facts{.method = method, .host = host, .path = *path};
  const Route* const found = table.match(facts);
  const auto verdicts = table.explain(facts);
  CHECK((found != nullptr) == (!verdicts.empty() && verdicts.back().why_not.empty()));
  if (found == nullptr) return;
  CHECK(verdicts.back().route == found->spec.id);
  CHECK(!found->spec.host || host_matches(*found->spec.host, host));
  (void)path_parameters(found->spec.path, *path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(text.find('\0'), text.size());
  const auto json = nlohmann::json::parse(text.substr(0, end), nullptr, false);
  if (json.is_discarded()) return 0;
  const auto snapshot = RouteSnapshot::from_json(json);
  if (!snapshot) return 0;
  const auto again = RouteSnapshot::from_json(snapshot->to_json());
  CHECK(again.has_value() && *again == *snapshot);
  check_match(RouteTable(snapshot->routes), text.substr(std::min(end + 1, text.size())));
  return 0;
}
