// FUZZ SOURCES: control/imported.cc control/import_nginx.cc control/nginx_parser.cc
// FUZZ SOURCES: control/nginx_includes.cc control/nginx_scope.cc
// FUZZ SOURCES: control/import_haproxy.cc control/haproxy_parser.cc
// FUZZ SOURCES: spec/document.cc spec/reader.cc spec/value.cc spec/load.cc spec/load_route.cc
// FUZZ SOURCES: spec/cidr.cc spec/traffic_json.cc spec/json_reader.cc spec/references.cc
// FUZZ SOURCES: spec/spec_yaml.cc spec/load_database.cc
// Input: an nginx.conf or a haproxy.cfg. Whatever stands in it, the spec that comes out is one that
// Banyan takes, and what is left over says what to do.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/check.h"
#include "control/import_haproxy.h"
#include "control/import_nginx.h"
#include "spec/spec.h"

// The linker takes the library from here: the build gives every fuzz target only fmt.
#pragma comment(lib, "yaml")

namespace {

using namespace banyan;  // NOLINT(google-build-using-namespace)

void check_imported(const Result<control::Imported>& imported) {
  if (!imported) return;
  for (const control::LeftOver& left : imported->left)
    CHECK(!left.where.empty() && !left.do_this.empty());
  const auto outcome =
      spec::parse_spec(control::imported_yaml(*imported, "fuzz", "fuzz"), "/fuzz/banyan.yaml");
  for (const auto& problem : outcome.problems) std::fputs(spec::format(problem).c_str(), stderr);
  CHECK(outcome.ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (size > 4096) return 0;  // each route is checked as a spec of its own
  const control::ReadFile none = [](const std::string& path) -> Result<std::string> {
    return failure(Code::kNotFound, path);
  };
  if (text.find("include") == std::string_view::npos)  // would look for files
    check_imported(control::import_nginx(text, "/fuzz/nginx.conf", none));
  check_imported(control::import_haproxy(text, "/fuzz/haproxy.cfg"));
  return 0;
}
