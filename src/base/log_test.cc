#include "base/log.h"

#include <gtest/gtest.h>

namespace banyan {
namespace {

TEST(Log, QuotesControlCharactersAndKeepsUtf8) {
  EXPECT_EQ(json_quoted("a\"b\\c\n\xC3\xA9"), "\"a\\\"b\\\\c\\u000a\xC3\xA9\"");
}

TEST(Log, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(json_quoted("x\xFFy"), "\"x\xEF\xBF\xBDy\"");
}

TEST(Log, NumbersAndBooleansAreBare) {
  EXPECT_EQ(LogValue(42).json(), "42");
  EXPECT_EQ(LogValue(true).json(), "true");
  EXPECT_EQ(LogValue("42").json(), "\"42\"");
}

}  // namespace
}  // namespace banyan
