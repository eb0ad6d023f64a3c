#include "base/percent.h"

#include <gtest/gtest.h>

namespace banyan {
namespace {

TEST(Percent, DecodesWhatIsEscapedAndLeavesTheRest) {
  EXPECT_EQ(percent_decoded("a%20b%2Fc%2f"), "a b/c/");
  EXPECT_EQ(percent_decoded("100%"), "100%");
  EXPECT_EQ(percent_decoded("%4"), "%4");
  EXPECT_EQ(percent_decoded("%zz%41"), "%zzA");
  EXPECT_EQ(percent_decoded("a+b"), "a+b");
}

}  // namespace
}  // namespace banyan
