#include "planes/replication/sequences.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

SequenceValue sequence(std::int64_t last_value, bool is_called) {
  SequenceValue value;
  value.qualified = "public.s";
  value.last_value = last_value;
  value.is_called = is_called;
  return value;
}

TEST(SequenceFix, AnOvertakenSequenceIsSetAheadWithHeadRoom) {
  const auto fix = sequence_fix(sequence(50, true), sequence(1, false), 100);
  ASSERT_TRUE(fix);
  EXPECT_EQ(fix->last_value, 150);
  EXPECT_TRUE(fix->is_called);
}

TEST(SequenceFix, ASequenceThatIsAheadStays) {
  EXPECT_FALSE(sequence_fix(sequence(50, true), sequence(150, true), 100));
}

TEST(SequenceFix, TheSameValueNotYetCalledIsBehind) {
  EXPECT_TRUE(sequence_fix(sequence(1, true), sequence(1, false), 0));
  EXPECT_FALSE(sequence_fix(sequence(1, false), sequence(1, false), 100));
}

TEST(SequenceFix, ANeverUsedSequenceTakesTheExactStart) {
  const auto fix = sequence_fix(sequence(77, false), sequence(1, false), 100);
  ASSERT_TRUE(fix);
  EXPECT_EQ(fix->last_value, 77);
  EXPECT_FALSE(fix->is_called);
}

TEST(SequenceFix, ADescendingSequenceGoesAheadDownwards) {
  auto active = sequence(-50, true);
  auto passive = sequence(-1, true);
  active.increment = passive.increment = -1;
  active.min_value = INT64_MIN;
  const auto fix = sequence_fix(active, passive, 100);
  ASSERT_TRUE(fix);
  EXPECT_EQ(fix->last_value, -150);
  passive.last_value = -400;
  EXPECT_FALSE(sequence_fix(active, passive, 100));
}

TEST(SequenceFix, WithoutRoomBeforeTheEndTheExactValueIsSet) {
  auto active = sequence(32700, true);
  active.max_value = 32767;
  EXPECT_EQ(sequence_fix(active, sequence(1, true), 100)->last_value, 32700);
  active.max_value = INT64_MAX;
  active.last_value = INT64_MAX - 1;
  EXPECT_EQ(sequence_fix(active, sequence(1, true), 100)->last_value, INT64_MAX - 1);
}

TEST(SequenceApart, EachSliceHasAPartOfWhatIsLeft) {
  auto active = sequence(1000, true);
  active.max_value = 2001;
  EXPECT_EQ(sequence_apart(active, 1, 1).last_value, 1501);
  EXPECT_EQ(sequence_apart(active, 1, 2).last_value, 1751);
  EXPECT_EQ(sequence_apart(active, 1801, 1).last_value, 1901) << "rows of an earlier slice";
  EXPECT_EQ(sequence_apart(active, 1, 62).last_value, 2001);
  EXPECT_TRUE(sequence_apart(sequence(1, false), 1, 1).is_called);
}

TEST(SequenceApart, LargeNumbersStaySmallEnoughForScripts) {
  constexpr std::int64_t kStep = std::int64_t{1} << 40;
  EXPECT_EQ(sequence_apart(sequence(5, true), 0, 1).last_value, 5 + kStep);
  EXPECT_EQ(sequence_apart(sequence(5, true), 0, 3).last_value, 5 + 3 * kStep);
  auto falling = sequence(-5, true);
  falling.increment = -1;
  falling.min_value = INT64_MIN;
  EXPECT_EQ(sequence_apart(falling, 0, 1).last_value, -5 - kStep);
}

TEST(SequenceFix, ACyclingSequenceIsMadeEqual) {
  auto active = sequence(3, true);
  active.cycles = true;
  EXPECT_EQ(sequence_fix(active, sequence(9, true), 100)->last_value, 3);
  EXPECT_FALSE(sequence_fix(active, sequence(3, true), 100));
}

}  // namespace
}  // namespace banyan::replication
