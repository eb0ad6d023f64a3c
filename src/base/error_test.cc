#include "base/error.h"

#include <gtest/gtest.h>

namespace banyan {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return failure(Code::kInvalidArgument, "odd");
  return n / 2;
}

Result<int> quarter(int n) {
  TRY(const int h, half(n));
  return half(h);
}

TEST(Error, TryReturnsTheFirstFailure) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().message(), "odd");
}

TEST(Error, ContextIsPrepended) {
  auto result = with_context(half(3), "halving");
  EXPECT_EQ(result.error().message(), "halving: odd");
  EXPECT_EQ(result.error().code(), Code::kInvalidArgument);
}

TEST(Error, CodeNamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i)
    EXPECT_EQ(code_from_name(code_name(static_cast<Code>(i))), static_cast<Code>(i));
}

}  // namespace
}  // namespace banyan
