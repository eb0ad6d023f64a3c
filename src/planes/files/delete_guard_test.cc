#include "planes/files/delete_guard.h"

#include <gtest/gtest.h>

namespace banyan::files {
namespace {

TEST(DeleteGuard, ComparisonsMayDeleteAHundredOrOnePercent) {
  SimClock clock;
  DeleteGuard guard(clock);
  EXPECT_TRUE(guard.admits_batch(100, 150));
  EXPECT_FALSE(guard.admits_batch(101, 150));
  EXPECT_TRUE(guard.admits_batch(500, 50'000));
  EXPECT_FALSE(guard.admits_batch(501, 50'000));
}

TEST(DeleteGuard, DeletesSeenAreLimitedPerMinute) {
  SimClock clock;
  DeleteGuard guard(clock);
  int admitted = 0;
  for (int i = 0; i < 1500; i++) admitted += guard.admits_one(100) ? 1 : 0;
  EXPECT_EQ(admitted, 1000);
  clock.advance(61s);
  EXPECT_TRUE(guard.admits_one(100));
}

TEST(DeleteGuard, AnAdmittedBatchDoesNotUseUpTheMinute) {
  SimClock clock;
  DeleteGuard guard(clock);
  ASSERT_TRUE(guard.admits_batch(2000, 300'000));
  for (int i = 0; i < 2000; i++) ASSERT_TRUE(guard.admits_one(100));
  EXPECT_TRUE(guard.admits_one(100));
}

TEST(DeleteGuard, HeldDeletesWaitForAConfirmationThatIsLargeEnough) {
  SimClock clock;
  DeleteGuard guard(clock);
  for (const auto* path : {"a", "b", "c"}) guard.hold(path);
  guard.release("c");
  EXPECT_TRUE(guard.confirm(1).empty());
  EXPECT_EQ(guard.held(), 2u);
  EXPECT_EQ(guard.confirm(2), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(guard.held(), 0u);
}

}  // namespace
}  // namespace banyan::files
