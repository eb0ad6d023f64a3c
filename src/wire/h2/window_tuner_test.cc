#include "wire/h2/window_tuner.h"

#include <gtest/gtest.h>

namespace banyan::h2 {
namespace {

constexpr std::size_t kKb = 1024;

class WindowTunerTest : public testing::Test {
 public:
  // One measurement of a stream that sends so much in a round trip.
  bool measure(WindowTuner& tuner, std::size_t bytes, WindowTuner::Waiting waiting = {}) {
    now_ += 20s;
    while (!tuner.note_data(1, 64 * kKb, now_)) {
    }
    EXPECT_TRUE(tuner.is_measuring());
    EXPECT_FALSE(tuner.note_data(1, bytes, now_));
    return tuner.finish(waiting, now_);
  }

  Mono now_{1s};
  WindowBudget budget_{16 << 20};
};

TEST_F(WindowTunerTest, AWindowThatIsTheLimitGrowsUpToTheBound) {
  WindowTuner tuner({}, &budget_);
  for (int i = 0; i < 20; ++i)
    measure(tuner,
            static_cast<std::size_t>(std::min(tuner.windows().stream, tuner.windows().connection)));
  EXPECT_EQ(tuner.windows().stream, WindowTuner::kMost.stream);
  EXPECT_LE(tuner.windows().connection, WindowTuner::kMost.connection);
  EXPECT_GE(tuner.windows().connection, WindowTuner::kMost.stream);
}

TEST_F(WindowTunerTest, AWindowThatIsNotFilledStays) {
  WindowTuner tuner({}, &budget_);
  EXPECT_FALSE(measure(tuner, 100 * kKb));
  EXPECT_EQ(tuner.windows(), Windows());
}

TEST_F(WindowTunerTest, WhatIsNotTakenLetsNothingGrow) {
  WindowTuner tuner({}, &budget_);
  EXPECT_FALSE(measure(tuner, 1024 * kKb, {.stream = 200 * kKb, .connection = 700 * kKb}));
  EXPECT_EQ(tuner.windows(), Windows());
}

TEST_F(WindowTunerTest, ConnectionsShareABudget) {
  WindowBudget budget(1 << 20);
  {
    WindowTuner one({}, &budget);
    WindowTuner two({}, &budget);
    EXPECT_TRUE(measure(one, 1024 * kKb));
    EXPECT_EQ(one.windows().connection, 2 << 20);
    measure(two, 1024 * kKb);
    EXPECT_EQ(two.windows().connection, 1 << 20);
  }
  EXPECT_TRUE(budget.take(1 << 20));  // given back
}

TEST_F(WindowTunerTest, MeasurementsThatFindNothingBecomeRare) {
  WindowTuner tuner({}, &budget_);
  int pings = 0;
  for (int i = 0; i < 100'000; ++i) {
    now_ += 1ms;
    if (!tuner.note_data(1, 64 * kKb, now_)) continue;
    ++pings;
    tuner.finish({}, now_);
  }
  EXPECT_LT(pings, 25);
}

}  // namespace
}  // namespace banyan::h2
