#include "planes/gateway/min_rate.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

TEST(MinRate, ASenderEarnsTimeWithItsBytes) {
  MinRate rate(500, 10s);
  EXPECT_EQ(rate.allowance(0, 60s), 10s);
  rate.waited(9s);
  EXPECT_EQ(rate.allowance(0, 60s), 1s);
  EXPECT_EQ(rate.allowance(1000, 60s), 3s);
  rate.waited(10s);
  EXPECT_EQ(rate.allowance(1000, 60s), 0s);
  EXPECT_EQ(rate.allowance(1'000'000, 60s), 60s);
}

TEST(MinRate, WithoutARateOnlyThePauseCounts) {
  MinRate rate(0, 10s);
  rate.waited(1h);
  EXPECT_EQ(rate.allowance(0, 60s), 60s);
}

}  // namespace
}  // namespace banyan::gateway
