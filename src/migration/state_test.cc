#include "migration/state.h"

#include <gtest/gtest.h>

namespace banyan::migration {
namespace {

const std::vector<Gate> kGreen = {{.name = "lag", .green = true, .seen = "3 ms"}};
const std::vector<Gate> kRed = {{.name = "lag", .green = false, .seen = "9 s"}};

TEST(State, ReadyNeedsVerificationAndEveryGate) {
  const Parts verified{.adopted = true, .following = true, .verified = true};
  EXPECT_EQ(state_of(verified, kGreen), State::kReady);
  EXPECT_EQ(state_of(verified, kRed), State::kVerified);
  EXPECT_EQ(state_of({.adopted = true, .following = true}, kGreen), State::kFollowing);
}

TEST(State, AFailedPartBlocksWhateverElseIsWell) {
  EXPECT_EQ(state_of({.following = true, .verified = true, .blocked = true}, kGreen),
            State::kBlocked);
}

TEST(State, AMigrationThatCameBackIsReversed) {
  EXPECT_EQ(state_of({.following = true, .ever_switched = true}, kGreen), State::kReversed);
}

TEST(State, EveryStateNamesItsNextCommand) {
  for (int i = 0; i <= static_cast<int>(State::kBlocked); ++i)
    EXPECT_NE(next_command(static_cast<State>(i), "lift").find("lift"), std::string::npos);
}

}  // namespace
}  // namespace banyan::migration
