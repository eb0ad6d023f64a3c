#include "planes/gateway/tap.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

TEST(Tap, SeesOnlyWhatTheFilterLetsThrough) {
  SimClock clock;
  Tap tap(clock);
  EXPECT_FALSE(tap.is_watched(clock.now()));
  tap.watch({.route = "a", .status = 5}, clock.now() + 1s);
  EXPECT_TRUE(tap.is_watched(clock.now()));
  tap.note({.route = "a", .status = 503});
  tap.note({.route = "a", .status = 200});
  tap.note({.route = "b", .status = 503});
  const TapLines seen = tap.take();
  ASSERT_EQ(seen.lines.size(), 1u);
  EXPECT_NE(seen.lines[0].find("503"), std::string::npos);
  EXPECT_TRUE(tap.take().lines.empty());
  clock.advance(1s);
  EXPECT_FALSE(tap.is_watched(clock.now()));
}

TEST(Tap, DropsAndCountsWhatNobodyFetches) {
  SimClock clock;
  Tap tap(clock);
  tap.watch({}, clock.now() + 1s);
  for (std::size_t i = 0; i < Tap::kLinesMax + 5; ++i) tap.note({.status = 200});
  const TapLines seen = tap.take();
  EXPECT_EQ(seen.lines.size(), Tap::kLinesMax);
  EXPECT_EQ(seen.dropped, 5u);
}

}  // namespace
}  // namespace banyan::gateway
