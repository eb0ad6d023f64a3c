#include "planes/files/dirty_paths.h"

#include <gtest/gtest.h>

namespace banyan::files {
namespace {

constexpr auto kNow = Duration(0);

TEST(DirtyPaths, APathIsInOneHandAtATime) {
  SimClock clock;
  DirtyPaths dirty(clock);
  dirty.mark("a");
  ASSERT_EQ(dirty.take(kNow)->path, "a");
  dirty.mark("a");
  EXPECT_FALSE(dirty.take(kNow));
  dirty.settle("a");
  EXPECT_EQ(dirty.take(kNow)->path, "a");
  dirty.settle("a");
  EXPECT_EQ(dirty.size(), 0u);
}

TEST(DirtyPaths, MarksAreMergedWhileWaiting) {
  SimClock clock;
  DirtyPaths dirty(clock);
  dirty.mark("a");
  dirty.mark("a");
  EXPECT_TRUE(dirty.take(kNow));
  dirty.settle("a");
  EXPECT_FALSE(dirty.take(kNow));
}

TEST(DirtyPaths, ARetryWaitsForItsPause) {
  SimClock clock;
  DirtyPaths dirty(clock);
  dirty.mark("a");
  ASSERT_TRUE(dirty.take(kNow));
  dirty.retry("a", 1s);
  EXPECT_FALSE(dirty.take(kNow));
  clock.advance(1s);
  const auto again = dirty.take(kNow);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->attempts, 1);
}

TEST(DirtyPaths, ABarrierWaitsForWhatWasMarkedBeforeItOnly) {
  SimClock clock;
  DirtyPaths dirty(clock);
  dirty.mark("before");
  const auto mark = dirty.newest_mark();
  dirty.mark("after");
  EXPECT_FALSE(dirty.wait_settled(mark, kNow));
  EXPECT_EQ(dirty.unsettled(mark), "before");
  ASSERT_EQ(dirty.take(kNow)->path, "before");
  dirty.settle("before");
  EXPECT_TRUE(dirty.wait_settled(mark, kNow));
}

TEST(DirtyPaths, ABarrierWaitsForAChangeMadeWhileInHand) {
  SimClock clock;
  DirtyPaths dirty(clock);
  dirty.mark("a");
  ASSERT_TRUE(dirty.take(kNow));
  dirty.mark("a");
  const auto mark = dirty.newest_mark();
  dirty.settle("a");
  EXPECT_FALSE(dirty.wait_settled(mark, kNow));
}

TEST(DirtyPaths, StatsCountBytesAndAge) {
  SimClock clock;
  DirtyPaths dirty(clock);
  dirty.mark("a", {.bytes = 10, .is_new = true});
  clock.advance(3s);
  dirty.mark("b", {.bytes = 5, .is_new = false});
  const auto stats = dirty.stats();
  EXPECT_EQ(stats.paths, 2u);
  EXPECT_EQ(stats.bytes, 15);
  EXPECT_EQ(stats.new_files, 1);
  EXPECT_EQ(stats.oldest, 3s);
}

}  // namespace
}  // namespace banyan::files
