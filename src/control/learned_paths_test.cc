#include "control/learned_paths.h"

#include <gmock/gmock.h>

namespace banyan::control {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string line(const std::string& path, const std::string& more = "\"method\":\"GET\"",
                 int status = 200) {
  return "{\"path\":\"" + path + "\",\"upstream\":\"old:1\",\"status\":" + std::to_string(status) +
         "," + more + "}\n";
}

TEST(LearnedPaths, OneExampleOfEachShapeAndTheMostFrequentFirst) {
  const auto log = line("/about") + line("/documents/7") + line("/documents/8") + line("/");
  EXPECT_THAT(learned_paths(log, "old:1", 2), ElementsAre("/documents/8", "/"));
}

TEST(LearnedPaths, OnlyAnsweredGetRequestsOfTheOldApplication) {
  const auto log = line("/a", "\"method\":\"POST\"") + line("/b", "\"method\":\"GET\"", 502) +
                   "half a li\n" + line("/c");
  EXPECT_THAT(learned_paths(log, "old:1", 9), ElementsAre("/c"));
  EXPECT_THAT(learned_paths(log, "new:1", 9), IsEmpty());
}

TEST(LearnedPaths, NoSecretsAndNothingThatActs) {
  const auto log = line("/share/a8f3kd92mx0q7w5z1b") + line("/accounts/Logout/") +
                   line("/items/3/delete") + line("/reset/Mg/5f3-abcdef0123/") + line("/ok");
  EXPECT_THAT(learned_paths(log, "old:1", 9), ElementsAre("/ok"));
}

}  // namespace
}  // namespace banyan::control
