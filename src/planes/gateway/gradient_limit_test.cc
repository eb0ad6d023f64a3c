#include "planes/gateway/gradient_limit.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

// A service that answers in 10 ms up to `capacity` requests at once, and queues beyond.
Duration answer_time(std::int64_t inside, std::int64_t capacity) {
  return inside <= capacity ? Duration(10ms) : Duration(10ms) * inside / capacity;
}

std::int64_t limit_after(GradientLimit& limit, int samples, std::int64_t capacity) {
  for (int i = 0; i < samples; ++i) {
    const std::int64_t inside = limit.limit();  // always full
    limit.observe(answer_time(inside, capacity), inside);
  }
  return limit.limit();
}

TEST(GradientLimit, SettlesNearWhatTheServiceCanDo) {
  GradientLimit limit;
  const std::int64_t found = limit_after(limit, 400, 50);
  EXPECT_GE(found, 45);
  EXPECT_LE(found, 130);
}

TEST(GradientLimit, FollowsAServiceThatBecomesSlower) {
  GradientLimit limit;
  const std::int64_t before = limit_after(limit, 300, 100);
  for (int i = 0; i < 60; ++i) limit.observe(200ms, limit.limit());
  EXPECT_LT(limit.limit(), before / 2);
}

TEST(GradientLimit, IdleSamplesSayNothing) {
  GradientLimit limit;
  for (int i = 0; i < 1000; ++i) limit.observe(10ms, 1);
  EXPECT_EQ(limit.limit(), static_cast<std::int64_t>(GradientLimit::kInitial));
}

}  // namespace
}  // namespace banyan::gateway
