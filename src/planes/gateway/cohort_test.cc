#include "planes/gateway/cohort.h"

#include <gtest/gtest.h>

#include <cmath>

namespace banyan::gateway {
namespace {

std::vector<spec::Weight> sides(int stable, int canary) {
  return {{"old", stable}, {"new", canary}};
}

TEST(Cohort, RaisingAShareNeverEvictsAMember) {
  for (int user = 0; user < 2000; ++user) {
    const std::string key = "user-" + std::to_string(user);
    bool inside = false;
    for (int percent = 0; percent <= 100; percent += 5) {
      const bool now = side_of(sides(100 - percent, percent), "s", key) == 1;
      EXPECT_TRUE(now || !inside) << key << " left at " << percent;
      inside = now;
    }
    EXPECT_TRUE(inside);
  }
}

TEST(Cohort, SharesAreWhatTheySay) {
  const std::vector<spec::Weight> three = {{"old", 60}, {"a", 30}, {"b", 10}};
  std::array<int, 3> counts{};
  constexpr int kUsers = 20'000;
  for (int user = 0; user < kUsers; ++user) ++counts[side_of(three, "s", std::to_string(user))];
  const std::array<double, 3> wanted = {0.6, 0.3, 0.1};
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(counts[i] / double{kUsers}, wanted[i], 0.015);
}

TEST(Cohort, AnotherSaltDrawsOtherMembers) {
  int both = 0;
  for (int user = 0; user < 10'000; ++user) {
    const std::string key = std::to_string(user);
    both += side_of(sides(90, 10), "one", key) == 1 && side_of(sides(90, 10), "two", key) == 1;
  }
  EXPECT_NEAR(both, 100, 60);
}

TEST(Cohort, WithoutAKeyIsOnTheStableSide) {
  EXPECT_EQ(side_of(sides(0, 100), "s", std::nullopt), 0U);
}

TEST(Cohort, ChanceFollowsTheShares) {
  http::IdSource ids(3);
  int canary = 0;
  for (int i = 0; i < 10'000; ++i) canary += random_side(sides(75, 25), ids) == 1;
  EXPECT_NEAR(canary, 2500, 200);
}

RequestFacts facts_with(const http::Field& field) {
  return {.method = "GET", .host = "h", .path = "/", .fields = {&field, 1}};
}

TEST(ClientKey, ComesFromCookieHeaderClaimOrAddress) {
  const http::Field cookie{"Cookie", "a=1; sid=abc", http::FieldId::kOther, false};
  EXPECT_EQ(client_key({"cookie", "sid", ""}, facts_with(cookie)), "abc");
  EXPECT_EQ(client_key({"cookie", "none", ""}, facts_with(cookie)), std::nullopt);
  const http::Field header{"X-User", "7", http::FieldId::kOther, false};
  EXPECT_EQ(client_key({"header", "x-user", ""}, facts_with(header)), "7");
  // {"sub":"anna","n":5}
  const http::Field token{"Authorization", "Bearer e30.eyJzdWIiOiJhbm5hIiwibiI6NX0.sig",
                          http::FieldId::kOther, false};
  EXPECT_EQ(client_key({"claim", "sub", ""}, facts_with(token)), "anna");
  EXPECT_EQ(client_key({"claim", "n", ""}, facts_with(token)), "5");
  EXPECT_EQ(client_key({"claim", "iss", ""}, facts_with(token)), std::nullopt);
  const RequestFacts v6{.method = "", .host = "", .path = "", .client_ip = "2001:db8::1"};
  const RequestFacts neighbour{.method = "", .host = "", .path = "", .client_ip = "2001:db8::2"};
  EXPECT_EQ(client_key({}, v6), client_key({}, neighbour));
}

TEST(ClientKey, ATokenThatIsNoneIsNoKey) {
  for (const char* text : {"Bearer", "Bearer x", "Bearer a.b", "Bearer a.!.c", "Basic e30.e30.x",
                           "Bearer e30.W10.x", "Bearer a..c"})
    EXPECT_EQ(unverified_claim(text, "sub"), std::nullopt) << text;
}

}  // namespace
}  // namespace banyan::gateway
