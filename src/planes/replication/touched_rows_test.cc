#include "planes/replication/touched_rows.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace banyan::replication {
namespace {

using Ranges = std::vector<TouchedRows::Range>;
using enum TouchedRows::Kind;

TEST(TouchedRows, KeysAreKnownOneByOne) {
  TouchedRows rows;
  EXPECT_TRUE(rows.empty());
  EXPECT_TRUE(rows.add({"a", "1"}, kOther, 1));
  EXPECT_FALSE(rows.add({"a", "1"}, kOther, 2)) << "known before";
  EXPECT_TRUE(rows.add({"a", "2"}, kOther, 3));
  EXPECT_EQ(*rows.keys(), (std::vector<TouchedRows::Key>{{"a", "1"}, {"a", "2"}}));
  EXPECT_EQ(rows.rows_at_most(), 2);
}

TEST(TouchedRows, NumbersNextToOneAnotherAreARange) {
  TouchedRows rows;
  for (const auto* key : {"7", "-3", "6", "-2", "9"}) EXPECT_TRUE(rows.add({key}, kNumber, 1));
  EXPECT_EQ(rows.ranges(), (Ranges{{-3, -2}, {6, 7}, {9, 9}}));
  EXPECT_EQ(rows.keys()->size(), 5U);
}

TEST(TouchedRows, TooManyNumbersBecomeWiderRangesThatHoldThemAll) {
  TouchedRows rows;
  for (std::int64_t key = -500'000; key < 500'000; key += 37)
    rows.add({std::to_string(key)}, kNumber, 1);
  const auto ranges = rows.ranges();
  EXPECT_LE(ranges.size(), TouchedRows::kRangesMost);
  EXPECT_FALSE(rows.is_all());
  EXPECT_FALSE(rows.keys());
  for (std::int64_t key = -500'000; key < 500'000; key += 37) {
    const bool is_there = std::ranges::any_of(
        ranges, [&](const auto& range) { return range.first <= key && key <= range.second; });
    ASSERT_TRUE(is_there) << key;
  }
  EXPECT_FALSE(rows.add({"37"}, kNumber, 2)) << "its range is known";
}

TEST(TouchedRows, NumbersAtTheEndsDoNotOverflow) {
  TouchedRows rows;
  const auto least = std::numeric_limits<std::int64_t>::min();
  const auto most = std::numeric_limits<std::int64_t>::max();
  rows.add({std::to_string(least)}, kNumber, 1);
  rows.add({std::to_string(most)}, kNumber, 1);
  for (int key = 0; key < 20'000; key++) rows.add({std::to_string(key * 1'000'003LL)}, kNumber, 1);
  EXPECT_EQ(rows.ranges().front().first, least);
  EXPECT_EQ(rows.ranges().back().second, most);
}

TEST(TouchedRows, KeysAllOverTheNumbersAreAsManyRowsAsThereAre) {
  TouchedRows rows;
  for (std::uint64_t key = 1; key <= 20'000; key++) {
    rows.add({std::to_string(static_cast<std::int64_t>(key * 0x9E3779B97F4A7C15))}, kNumber, 1);
  }
  EXPECT_EQ(rows.rows_at_most(), std::nullopt);
  EXPECT_FALSE(rows.is_all());
}

TEST(TouchedRows, OtherKeysAreKnownOneByOneUntilSomebodyBoundsThem) {
  TouchedRows rows;
  for (int key = 0; key < 50'000; key++)
    EXPECT_TRUE(rows.add({"k" + std::to_string(key)}, kOther, 1));
  EXPECT_EQ(rows.keys()->size(), 50'000U);
  EXPECT_GT(rows.key_bytes(), 50'000U * 6);
  rows.add_all(2);
  EXPECT_EQ(rows.key_bytes(), 0U);
  EXPECT_EQ(rows.rows_at_most(), std::nullopt);
  EXPECT_FALSE(rows.add({"another"}, kOther, 2));
}

TEST(TouchedRows, TextsThatLookLikeNumbersAreTexts) {
  TouchedRows rows;
  for (const auto* key : {"7", "007", "seven", "7.0"}) EXPECT_TRUE(rows.add({key}, kOther, 1));
  EXPECT_TRUE(rows.ranges().empty());
  EXPECT_EQ(rows.rows_at_most(), 4);
}

TEST(TouchedRows, WhatCannotBeToldApartIsEveryRow) {
  TouchedRows mixed;
  mixed.add({"7"}, kNumber, 1);
  EXPECT_TRUE(mixed.add({"k"}, kOther, 1)) << "of another key";
  EXPECT_TRUE(mixed.is_all());
  TouchedRows number;
  EXPECT_TRUE(number.add({"1e3"}, kNumber, 1));
  EXPECT_TRUE(number.is_all());
  TouchedRows bytes;
  bytes.add({"no \xff character"}, kOther, 1);
  EXPECT_TRUE(bytes.is_all());
  TouchedRows words;
  words.add({"Gr\xc3\xbc\xc3\x9f"
             "e"},
            kOther, 1);
  EXPECT_FALSE(words.is_all());
}

TEST(TouchedRows, SettlesOnlyWhatWasNotTouchedSince) {
  TouchedRows rows;
  rows.add({"1"}, kNumber, 1);
  rows.add({"2"}, kNumber, 1);
  rows.add({"2"}, kNumber, 5);
  rows.settle(4);
  EXPECT_EQ(rows.ranges(), (Ranges{{2, 2}}));
  TouchedRows others;
  others.add({"a"}, kOther, 1);
  const auto bytes = others.key_bytes();
  others.add({"b"}, kOther, 5);
  others.settle(4);
  EXPECT_EQ(*others.keys(), (std::vector<TouchedRows::Key>{{"b"}}));
  EXPECT_EQ(others.key_bytes(), bytes);
  rows.add_all(6);
  rows.settle(6);
  EXPECT_TRUE(rows.is_all());
  rows.settle(7);
  EXPECT_TRUE(rows.empty());
}

TEST(TouchedRows, IsTheSameAfterBeingKept) {
  TouchedRows numbers;
  for (int key = 0; key < 60'000; key += 2) numbers.add({std::to_string(key)}, kNumber, 1);
  EXPECT_EQ(TouchedRows::from_json(numbers.to_json()).ranges(), numbers.ranges());
  TouchedRows keys;
  keys.add({"a", ""}, kOther, 1);
  EXPECT_EQ(*TouchedRows::from_json(keys.to_json()).keys(), *keys.keys());
  EXPECT_EQ(TouchedRows::from_json(keys.to_json()).key_bytes(), keys.key_bytes());
  TouchedRows all;
  all.add_all(3);
  EXPECT_TRUE(TouchedRows::from_json(all.to_json()).is_all());
  EXPECT_TRUE(TouchedRows::from_json(nlohmann::json::object()).is_all()) << "not readable";
}

}  // namespace
}  // namespace banyan::replication
