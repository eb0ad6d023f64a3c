#include "planes/replication/engine_config.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

nlohmann::json config(const std::string& share) {
  return {{"source", "postgresql:///a"},
          {"target", "postgresql:///b"},
          {"tables", {"t"}},
          {"share", share}};
}

TEST(EngineConfig, NamesFitIntoThoseOfSlotsAndTriggers) {
  const std::string longest(40, 'x');
  EXPECT_TRUE(parse_engine_config(longest, config("")));
  EXPECT_TRUE(parse_engine_config("shop-2", config("mono")));
  for (const auto& name :
       {std::string(), longest + "x", std::string("a_b"), std::string("../a"), std::string("A")}) {
    const auto refused = parse_engine_config(name, config(""));
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  }
  EXPECT_FALSE(parse_engine_config("shop", config("a/b")));
}

}  // namespace
}  // namespace banyan::replication
