#include "planes/replication/touched_rows.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace banyan::replication {
namespace {

using Ranges = std::vector<TouchedRows::Range>;

TEST(TouchedRows, KeysAreKnownOneByOne) {
  TouchedRows rows;
  EXPECT_TRUE(rows.empty());
  EXPECT_TRUE(rows.add({"a", "1"}, 1));
  EXPECT_FALSE(rows.add({"a", "1"}, 2)) << "known before";
  EXPECT_TRUE(rows.add({"a", "2"}, 3));
  EXPECT_EQ(*rows.keys(), (std::vector<TouchedRows::Key>{{"a", "1"}, {"a", "2"}}));
  EXPECT_EQ(rows.rows_at_most(), 2);
}

TEST(TouchedRows, NumbersNextToOneAnotherAreARange) {
  TouchedRows rows;
  for (const auto* key : {"7", "-3", "6", "-2", "9"}) EXPECT_TRUE(rows.add({key}, 1));
  EXPECT_EQ(rows.ranges(), (Ranges{{-3, -2}, {6, 7}, {9, 9}}));
  EXPECT_EQ(rows.keys()->size(), 5U);
}

TEST(TouchedRows, TooManyNumbersBecomeWiderRangesThatHoldThemAll) {
  TouchedRows rows;
  for (std::int64_t key = -500'000; key < 500'000; key += 37) rows.add({std::to_string(key)}, 1);
  const auto ranges = rows.ranges();
  EXPECT_LE(ranges.size(), TouchedRows::kMost);
  EXPECT_FALSE(rows.is_all());
  EXPECT_FALSE(rows.keys());
  for (std::int64_t key = -500'000; key < 500'000; key += 37) {
    const bool is_there = std::ranges::any_of(
        ranges, [&](const auto& range) { return range.first <= key && key <= range.second; });
    ASSERT_TRUE(is_there) << key;
  }
  EXPECT_FALSE(rows.add({"37"}, 2)) << "its range is known";
}

TEST(TouchedRows, NumbersAtTheEndsDoNotOverflow) {
  TouchedRows rows;
  const auto least = std::numeric_limits<std::int64_t>::min();
  const auto most = std::numeric_limits<std::int64_t>::max();
  rows.add({std::to_string(least)}, 1);
  rows.add({std::to_string(most)}, 1);
  for (int key = 0; key < 20'000; key++) rows.add({std::to_string(key * 1'000'003LL)}, 1);
  EXPECT_EQ(rows.ranges().front().first, least);
  EXPECT_EQ(rows.ranges().back().second, most);
}

TEST(TouchedRows, KeysAllOverTheNumbersAreAsManyRowsAsThereAre) {
  TouchedRows rows;
  for (std::uint64_t key = 1; key <= 20'000; key++) {
    rows.add({std::to_string(static_cast<std::int64_t>(key * 0x9E3779B97F4A7C15))}, 1);
  }
  EXPECT_EQ(rows.rows_at_most(), std::nullopt);
  EXPECT_FALSE(rows.is_all());
}

TEST(TouchedRows, TooManyOtherKeysAreEveryRow) {
  TouchedRows rows;
  for (std::size_t key = 0; key <= TouchedRows::kMost; key++) {
    EXPECT_FALSE(rows.is_all());
    EXPECT_TRUE(rows.add({"k" + std::to_string(key)}, 1));
  }
  EXPECT_TRUE(rows.is_all());
  EXPECT_EQ(rows.rows_at_most(), std::nullopt);
  EXPECT_FALSE(rows.add({"another"}, 2));
}

TEST(TouchedRows, WhatCannotBeToldApartIsEveryRow) {
  TouchedRows mixed;
  mixed.add({"7"}, 1);
  EXPECT_TRUE(mixed.add({"007"}, 1)) << "a text that only looks like a number";
  EXPECT_TRUE(mixed.is_all());
  TouchedRows large;
  large.add({std::string(TouchedRows::kKeyBytesMost + 1, 'x')}, 1);
  EXPECT_TRUE(large.is_all());
  TouchedRows bytes;
  bytes.add({"no \xff character"}, 1);
  EXPECT_TRUE(bytes.is_all());
  TouchedRows words;
  words.add({"Gr\xc3\xbc\xc3\x9f"
             "e"},
            1);
  EXPECT_FALSE(words.is_all());
}

TEST(TouchedRows, SettlesOnlyWhatWasNotTouchedSince) {
  TouchedRows rows;
  rows.add({"1"}, 1);
  rows.add({"2"}, 1);
  rows.add({"2"}, 5);
  rows.settle(4);
  EXPECT_EQ(rows.ranges(), (Ranges{{2, 2}}));
  rows.add_all(6);
  rows.settle(6);
  EXPECT_TRUE(rows.is_all());
  rows.settle(7);
  EXPECT_TRUE(rows.empty());
}

TEST(TouchedRows, IsTheSameAfterBeingKept) {
  TouchedRows numbers;
  for (int key = 0; key < 60'000; key += 2) numbers.add({std::to_string(key)}, 1);
  EXPECT_EQ(TouchedRows::from_json(numbers.to_json()).ranges(), numbers.ranges());
  TouchedRows keys;
  keys.add({"a", "b"}, 1);
  EXPECT_EQ(*TouchedRows::from_json(keys.to_json()).keys(), *keys.keys());
  TouchedRows all;
  all.add_all(3);
  EXPECT_TRUE(TouchedRows::from_json(all.to_json()).is_all());
  EXPECT_TRUE(TouchedRows::from_json(nlohmann::json::object()).is_all()) << "not readable";
}

}  // namespace
}  // namespace banyan::replication
