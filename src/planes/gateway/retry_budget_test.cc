#include "planes/gateway/retry_budget.h"

#include <gtest/gtest.h>

#include <vector>

namespace banyan::gateway {
namespace {

TEST(RetryTokens, AreAShareOfTheRequestsButAFewInAnyCase) {
  RetryTokens tokens;
  std::vector<RetryTokens::Token> held;
  for (int i = 0; i < 3; ++i) held.push_back(tokens.take({.percent = 20, .at_least = 3}, 0));
  EXPECT_TRUE(held.back());
  EXPECT_FALSE(tokens.take({.percent = 20, .at_least = 3}, 10));
  EXPECT_TRUE(tokens.take({.percent = 20, .at_least = 3}, 20));
  EXPECT_EQ(tokens.refused(), 1U);
  held.clear();
  EXPECT_EQ(tokens.out(), 0);
}

TEST(RetryTokens, AStormOfRetriesStaysWithinItsShare) {
  RetryTokens tokens;
  std::vector<RetryTokens::Token> held;
  for (int i = 0; i < 1000; ++i) {
    auto token = tokens.take({.percent = 20, .at_least = 3}, 500);
    if (token) held.push_back(std::move(token));
  }
  EXPECT_EQ(held.size(), 100U);
}

TEST(Backoff, IsAnythingUpToAGrowingBound) {
  http::IdSource ids(5);
  for (int retry = 0; retry < 6; ++retry) {
    const Duration most = std::min<Duration>(250ms, 25ms * (1 << retry));
    Duration seen{};
    for (int i = 0; i < 500; ++i) {
      const Duration wait = backoff(25ms, retry, ids);
      EXPECT_LE(wait, most);
      seen = std::max(seen, wait);
    }
    EXPECT_GT(seen, most / 2);
  }
  EXPECT_EQ(backoff(0ms, 3, ids), 0ms);
}

}  // namespace
}  // namespace banyan::gateway
