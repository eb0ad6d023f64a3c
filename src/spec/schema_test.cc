// The published schema is what the code reads, and the published examples are correct.
// To publish after a change: BANYAN_PUBLISH=1 spec_test --gtest_filter=Schema.*
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "spec/spec.h"

namespace banyan::spec {
namespace {

namespace fs = std::filesystem;

fs::path repository() {
  return fs::path(__FILE__).parent_path().parent_path().parent_path();
}

TEST(Schema, IsPublishedAsTheCodeReadsIt) {
  const fs::path published = repository() / "docs" / "banyan.schema.json";
  if (getenv("BANYAN_PUBLISH") != nullptr) std::ofstream(published) << json_schema();  // NOLINT
  std::ostringstream text;
  text << std::ifstream(published).rdbuf();
  EXPECT_TRUE(text.str() == json_schema())
      << "docs/banyan.schema.json is old; publish it: BANYAN_PUBLISH=1 spec_test "
         "--gtest_filter=Schema.*";
}

TEST(Schema, EveryExampleSpecIsCorrect) {
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(repository() / "examples" / "specs")) {
    const auto outcome = load_spec(entry.path().string());
    for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
    ++seen;
  }
  EXPECT_GE(seen, 2);
}

}  // namespace
}  // namespace banyan::spec
