#include "planes/sessions/value.h"

#include <gtest/gtest.h>

#include <random>

namespace banyan::sessions {
namespace {

std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int b : list) out += static_cast<char>(b);
  return out;
}

TEST(Json, ReadsWhatPythonWrites) {
  constexpr std::string_view kJson =
      R"({"a":[1,-2.5,1e10,true,false,null],)"
      R"("u":"\u00e9\ud83d\ude00","big":123456789012345678901234567890})";
  const auto value = read_json(kJson);
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(value->items[3].text, "\xC3\xA9\xF0\x9F\x98\x80");
  EXPECT_EQ(value->items[5].text, "123456789012345678901234567890");
  const auto again = read_json(*write_json(*value));
  ASSERT_TRUE(again);
  EXPECT_TRUE(same(*value, *again));
}

TEST(Json, LoneSurrogatesAndNotANumberSurvive) {
  const auto value = read_json(R"(["\ud800",NaN,-Infinity])");
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(*write_json(*value), R"(["\ud800",NaN,-Infinity])");
}

TEST(Json, BrokenTextIsRefused) {
  for (const char* text : {"", "{", "[1,", "\"a", "{\"a\"1}", "[1]x", "nul", "\"\\u12\"", "--1",
                           ".", "0255", "1.", "1e"})
    EXPECT_FALSE(read_json(text)) << text;
  EXPECT_FALSE(read_json(std::string(10'000, '[')));
}

TEST(Pickle, WhatIsWrittenIsReadBack) {
  const auto value =
      read_json(R"({"_auth_user_id":"7","n":[0,255,65536,-1,2147483648,-9223372036854775808],)"
                R"("l":[99999999999999999999,-99999999999999999999],)"
                R"("f":0.1,)"
                R"("nested":{"empty":{},"list":[]},"t":true,"none":null})");
  ASSERT_TRUE(value);
  const auto again = read_pickle(write_pickle(*value));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE(same(*value, *again));
}

// pickle.dumps({"a": 1, "b": [1.5, None, "x", "x"]}, 4)
TEST(Pickle, ReadsFramesMemosAndShortText) {
  const auto value = read_pickle(bytes(
      {0x80, 4,    0x95, 0x27, 0,    0,    0,   0,    0,    0,    0,   '}', 0x94, '(',  0x8c, 1,
       'a',  0x94, 'K',  1,    0x8c, 1,    'b', 0x94, ']',  0x94, '(', 'G', 0x3f, 0xf8, 0,    0,
       0,    0,    0,    0,    'N',  0x8c, 1,   'x',  0x94, 'h',  4,   'e', 'u',  '.'}));
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(*write_json(*value), R"({"a":1,"b":[1.5,null,"x","x"]})");
}

TEST(Pickle, WhatWouldCallSomethingIsRefused) {
  const auto value = read_pickle("cos\nsystem\n(S'true'\ntR.");
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().code(), Code::kUnsupported);
  EXPECT_EQ(
      read_pickle(bytes({0x80, 4, 0x8c, 2, 'o', 's', 0x8c, 1, 's', 0x93, '.'})).error().code(),
      Code::kUnsupported);
}

TEST(Pickle, AListThatHoldsItselfIsRefused) {
  EXPECT_FALSE(read_pickle(bytes({0x80, 2, ']', 'q', 0, 'h', 0, 'a', '.'})));
}

TEST(Pickle, AFewBytesCannotGrowIntoGigabytes) {
  std::string bomb = "\x80\x02]q" + std::string(1, '\0');
  for (char i = 0; i < 40; ++i) {
    bomb += "](h" + std::string(1, i) + "h" + std::string(1, i) + "eq" + std::string(1, i + 1);
  }
  EXPECT_FALSE(read_pickle(bomb + "."));
}

TEST(Pickle, DamagedBytesNeverCrash) {
  const auto value = read_json(R"({"a":[1,2,{"b":"text"}],"c":123456789012345678901})");
  const std::string good = write_pickle(*value);
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string damaged = good.substr(0, random() % (good.size() + 1));
    for (std::size_t i = 0; !damaged.empty() && i < 1 + random() % 3; ++i)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    if (const auto read = read_pickle(damaged)) (void)write_json(*read);  // only must not crash
    if (const auto read = read_json(damaged)) (void)write_pickle(*read);
  }
}

TEST(Value, OrderAndSpellingOfKeysDoNotMatter) {
  const auto a = read_json(R"({"1":"x","b":[1]})");
  const auto b = read_pickle(bytes({0x80, 2,   '}', '(', 'X', 1, 0, 0, 0,   'b', 'K', 1,
                                    0x85, 'K', 1,   'X', 1,   0, 0, 0, 'x', 'u', '.'}));
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(same(*a, *b));
  EXPECT_FALSE(same(*a, *read_json(R"({"1":"x","b":[2]})")));
}

}  // namespace
}  // namespace banyan::sessions
