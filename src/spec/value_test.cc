#include "spec/value.h"

#include <gtest/gtest.h>

namespace banyan::spec {
namespace {

using std::chrono::milliseconds;

TEST(Value, DurationsHaveUnitsInFallingOrder) {
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("2s"), milliseconds(2000));
  EXPECT_EQ(parse_duration("1m30s"), milliseconds(90'000));
  EXPECT_EQ(parse_duration("1d"), milliseconds(86'400'000));
  for (const char* text : {"", "5", "s", "-1s", "1s1m", "1s1s", "1w", "1 s", "1.5s",
                           "99999999999999999999s", "9223372036854775807d"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Value, SizesAreDecimalOrBinary) {
  EXPECT_EQ(parse_size("512"), 512);
  EXPECT_EQ(parse_size("512B"), 512);
  EXPECT_EQ(parse_size("10MB"), 10'000'000);
  EXPECT_EQ(parse_size("1GiB"), 1'073'741'824);
  for (const char* text : {"", "MB", "1mb", "1M", "1 MB", "-1B", "1PB", "9999999999TB"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(Value, IntegersTakeTheWholeText) {
  EXPECT_EQ(parse_integer("-12"), -12);
  EXPECT_EQ(parse_integer("0x1f"), 31);
  EXPECT_EQ(parse_integer("0o17"), 15);
  EXPECT_FALSE(parse_integer("12a"));
  EXPECT_FALSE(parse_integer("99999999999999999999"));
}

TEST(Value, AddressesAreHostAndPort) {
  EXPECT_EQ(parse_address("127.0.0.1:80")->port, 80);
  EXPECT_EQ(parse_address("[::1]:80")->host, "::1");
  for (const char* text : {"", "80", ":80", "a:b", "::1:80", "a:70000", "a/b:80"}) {
    EXPECT_FALSE(parse_address(text)) << text;
  }
}

TEST(Value, MatchesAreMethodsAndAPathTemplate) {
  EXPECT_EQ(parse_match("GET  /a/:id")->id(), "GET /a/:id");
  EXPECT_EQ(parse_match("GET,HEAD /a/*")->methods.size(), 2U);
  EXPECT_TRUE(parse_match("/*")->methods.empty());
  for (const char* text :
       {"", "GET", "get /a", "/a/*/b", "/a*", "a", "/a?b", "/:", "/:/a", "GET, /a"}) {
    EXPECT_FALSE(parse_match(text)) << text;
  }
}

TEST(Value, PasswordsInUrlsAreSeen) {
  EXPECT_TRUE(has_password("postgresql://u:p@h/db"));
  EXPECT_TRUE(has_password("postgresql:///db?password=p"));
  EXPECT_FALSE(has_password("postgresql://u@h:5432/db"));
  EXPECT_FALSE(has_password("redis://127.0.0.1:6379/0"));
  EXPECT_FALSE(has_password("user:pw"));
}

TEST(Value, SecretsAreKnownByTheEndOfTheirName) {
  for (const char* name : {"SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "TOKEN"}) {
    EXPECT_TRUE(names_a_secret(name)) << name;
  }
  for (const char* name : {"PASSWORD_ITERATIONS", "TOKEN_TTL", "AWS_ACCESS_KEY_ID", "BROKEN"}) {
    EXPECT_FALSE(names_a_secret(name)) << name;
  }
}

TEST(Value, ASwapOfNeighboursIsOneEdit) {
  EXPECT_EQ(edit_distance("healht", "health"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(Value, NearestIsSilentWhenNothingIsNear) {
  const std::vector<std::string> known = {"health", "instances", "bind"};
  EXPECT_EQ(nearest("healht", known), "health");
  EXPECT_EQ(nearest("bin", known), "bind");
  EXPECT_EQ(nearest("colour", known), "");
}

}  // namespace
}  // namespace banyan::spec
