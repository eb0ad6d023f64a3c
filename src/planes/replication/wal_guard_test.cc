#include "planes/replication/wal_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

using ::testing::HasSubstr;
constexpr std::int64_t kMega = 1 << 20;

WalStanding standing(std::string status, std::int64_t kept, std::optional<std::int64_t> safe) {
  return {.slot = "s", .status = std::move(status), .kept_bytes = kept * kMega, .safe_bytes = safe};
}

TEST(WalAlarm, IsSilentUpToHalfOfTheLimit) {
  EXPECT_EQ(wal_alarm(standing("reserved", 100, 101 * kMega)), "");
  EXPECT_EQ(wal_alarm(standing("extended", 100, 500 * kMega)), "");
  EXPECT_EQ(wal_alarm(standing("reserved", 5000, std::nullopt)), "");
}

TEST(WalAlarm, SaysHowMuchIsLeftBeyondHalf) {
  EXPECT_THAT(wal_alarm(standing("extended", 100, 20 * kMega)), HasSubstr("after 20 MB more"));
}

TEST(WalAlarm, TellsDangerAndLossApart) {
  EXPECT_THAT(wal_alarm(standing("unreserved", 100, -5)), HasSubstr("next checkpoint"));
  EXPECT_THAT(wal_alarm(standing("lost", 100, std::nullopt)), HasSubstr("repair"));
}

TEST(WalAlarm, WithoutALimitTheDiskIsTheLimit) {
  EXPECT_THAT(wal_alarm(standing("extended", 20'000, std::nullopt)), HasSubstr("disk"));
}

TEST(WantsRelease, FromHalfOfTheServersLimitOrOurs) {
  EXPECT_FALSE(wants_release(standing("reserved", 100, 101 * kMega), 0));
  EXPECT_TRUE(wants_release(standing("extended", 100, 99 * kMega), 0));
  EXPECT_TRUE(wants_release(standing("reserved", 100, std::nullopt), 99 * kMega));
  EXPECT_FALSE(wants_release(standing("reserved", 5000, std::nullopt), 0));
}

TEST(IsReceivingBehind, OnlyWhenTheLogIsKeptForWhatWasNotReceived) {
  auto now = standing("extended", 100, 20 * kMega);  // kept for an open transaction
  EXPECT_FALSE(is_receiving_behind(now, 0));
  now.unconfirmed_bytes = 60 * kMega;
  EXPECT_TRUE(is_receiving_behind(now, 0));
  EXPECT_FALSE(is_receiving_behind(now, 200 * kMega));
}

}  // namespace
}  // namespace banyan::replication
