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

}  // namespace
}  // namespace banyan::replication
