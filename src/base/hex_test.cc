#include "base/hex.h"

#include <gtest/gtest.h>

namespace banyan {
namespace {

TEST(Hex, EveryByteBecomesTwoDigitsThatMeanIt) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = hex(std::string(1, static_cast<char>(byte)));
    ASSERT_EQ(text.size(), 2U);
    EXPECT_EQ(hex_value(text[0]) * 16 + hex_value(text[1]), byte);
  }
}

TEST(Hex, WhatWasWrittenIsRead) {
  const std::string bytes("\0\xff\x10 a", 5);
  EXPECT_EQ(unhex(hex(bytes)), bytes);
  EXPECT_EQ(unhex(""), "");
  for (const char* wrong : {"0", "0g", "00 "}) EXPECT_FALSE(unhex(wrong)) << wrong;
}

TEST(Hex, OnlyDigitsAreDigits) {
  int digits = 0;
  for (int c = 0; c < 256; ++c) digits += is_hex(static_cast<char>(c)) ? 1 : 0;
  EXPECT_EQ(digits, 22);
  EXPECT_EQ(hex_value('F'), 15);
}

}  // namespace
}  // namespace banyan
