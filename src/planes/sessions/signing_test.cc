#include "planes/sessions/signing.h"

#include <gtest/gtest.h>

namespace banyan::sessions {
namespace {

constexpr std::string_view kSecret = "secret";
const Wall kNow = Wall(std::chrono::seconds(1'700'000'000));

TEST(Signing, WhatIsSignedIsReadWithAndWithoutTheSecret) {
  const auto session = read_json(R"({"_auth_user_id":"1"})");
  const auto text = sign_session(*session, kSecret, kNow);
  ASSERT_TRUE(text);
  EXPECT_TRUE(same(*session, *unsign_session(*text)));
  EXPECT_TRUE(same(*session, *unsign_session(*text, kSecret)));
}

TEST(Signing, AnotherSecretIsNoticed) {
  const auto text = sign_session(*read_json("{}"), kSecret, kNow);
  const auto read = unsign_session(*text, "other");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Code::kCorruption);
}

TEST(Signing, LongSessionsAreCompressed) {
  const auto session = read_json("{\"a\":\"" + std::string(5000, 'x') + "\"}");
  const auto text = sign_session(*session, kSecret, kNow);
  ASSERT_TRUE(text);
  EXPECT_TRUE(text->starts_with('.'));
  EXPECT_LT(text->size(), 500U);
  EXPECT_TRUE(same(*session, *unsign_session(*text, kSecret)));
}

TEST(Signing, SessionsFromBeforeDjango31AreRead) {
  const auto value = unsign_session("ZmVlZDp7ImEiOjF9");  // feed:{"a":1}
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(*write_json(*value), R"({"a":1})");
}

TEST(Signing, DamagedTextIsAnError) {
  for (const char* text : {"", ":", "::", ".eJw:1:x", "!!!:1:x", "abc", "W10:"})
    EXPECT_FALSE(unsign_session(text)) << text;
}

}  // namespace
}  // namespace banyan::sessions
