// FUZZ SOURCES: spec/document.cc spec/reader.cc spec/value.cc spec/load.cc spec/load_route.cc
// FUZZ SOURCES: spec/cidr.cc spec/traffic_json.cc spec/json_reader.cc spec/references.cc
// FUZZ SOURCES: spec/load_database.cc
//
// Any bytes are read without a crash; what they mean wrongly is a problem with a place and a
// remedy.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "spec/spec.h"

// The linker takes the library from here: the build gives every fuzz target only fmt.
#pragma comment(lib, "yaml")

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto outcome = banyan::spec::parse_spec(text, "/fuzz/banyan.yaml");
  for (const auto& problem : outcome.problems) {
    CHECK(!problem.code.empty() && !problem.what.empty() && !problem.do_this.empty());
    CHECK(problem.at.line >= 0 && problem.at.column >= 0);
  }
  return 0;
}
