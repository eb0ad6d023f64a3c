#include "planes/replication/snapshot_filter.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

TEST(SnapshotFilter, HasSeenWhatWasFinishedWhenItWasTaken) {
  const auto filter = SnapshotFilter::parse("10:20:12,15");
  ASSERT_TRUE(filter);
  EXPECT_TRUE(filter->has_seen(9));
  EXPECT_TRUE(filter->has_seen(11));
  EXPECT_FALSE(filter->has_seen(12));
  EXPECT_FALSE(filter->has_seen(15));
  EXPECT_FALSE(filter->has_seen(20));
}

TEST(SnapshotFilter, TakesShortXidsAsTheNearest) {
  const auto filter = SnapshotFilter::parse("4294967290:4294967300:");
  ASSERT_TRUE(filter);
  EXPECT_TRUE(filter->has_seen(4294967280U));
  EXPECT_TRUE(filter->has_seen(3));    // 4294967299
  EXPECT_FALSE(filter->has_seen(10));  // 4294967306
}

TEST(SnapshotFilter, IncludesAnEarlierOneUnlessSomethingItSawStillRuns) {
  const auto earlier = SnapshotFilter::parse("10:20:12");
  EXPECT_TRUE(SnapshotFilter::parse("12:30:12,25")->includes(*earlier));
  EXPECT_FALSE(SnapshotFilter::parse("11:30:15")->includes(*earlier));
  EXPECT_FALSE(SnapshotFilter::parse("10:15:")->includes(*earlier));
}

TEST(SnapshotFilter, TakesASlotsSnapshotThatEndsBeforeItsBeginning) {
  const auto filter = SnapshotFilter::parse("784:783:");
  ASSERT_TRUE(filter);
  EXPECT_TRUE(filter->has_seen(783));
  EXPECT_FALSE(filter->has_seen(784));
}

TEST(SnapshotFilter, RefusesOtherText) {
  for (const auto* bad : {"", ":", "1:2", "1:2:x", "1:2:3,,4", "a:b:"}) {
    EXPECT_FALSE(SnapshotFilter::parse(bad)) << bad;
  }
}

}  // namespace
}  // namespace banyan::replication
