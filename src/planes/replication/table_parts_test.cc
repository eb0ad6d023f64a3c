#include "planes/replication/table_parts.h"

#include <gtest/gtest.h>

#include "planes/replication/catalog.h"
#include "planes/replication/sample_tables.h"

namespace banyan::replication {
namespace {

std::vector<ComparedTable> parts_of(const ComparedTable& table,
                                    const std::vector<std::string>& keys) {
  const auto kind = is_whole_number(table.active.columns[0].type) ? TouchedRows::Kind::kNumber
                                                                  : TouchedRows::Kind::kOther;
  TouchedRows touched;
  for (const auto& key : keys) touched.add({key}, kind, 1);
  return *touched_parts(table, table.active, {"id"}, touched);
}

TEST(TouchedParts, NothingTouchedIsNothingToCompare) {
  EXPECT_TRUE(parts_of(both("integer"), {}).empty());
}

TEST(TouchedParts, NumbersAreAskedForByRange) {
  const auto parts = parts_of(both("bigint"), {"7", "8", "12"});
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].active.where, R"(("id" between '7'::bigint and '8'::bigint) or )"
                                   R"(("id" between '12'::bigint and '12'::bigint))");
  EXPECT_EQ(parts[0].passive->where, parts[0].active.where);
}

TEST(TouchedParts, TextsThatLookLikeNumbersAreNoRanges) {
  const auto parts = parts_of(both("text"), {"7"});
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].active.where, R"("id" in ('7'))");
  std::vector<std::string> many;
  for (int key = 0; key < 20'000; key++) many.push_back(std::to_string(key));
  EXPECT_EQ(parts_of(both("text"), many).size(), 20U) << "lists of a thousand";
}

TEST(TouchedParts, AnotherKeyThanTheTablesCannotBeTold) {
  TouchedRows touched;
  touched.add({"7"}, TouchedRows::Kind::kNumber, 1);
  const auto table = both("integer");
  EXPECT_FALSE(touched_parts(table, table.active, {"v"}, touched));
  EXPECT_FALSE(touched_parts(table, table.active, {"id", "v"}, touched));
  touched.add_all(1);
  EXPECT_FALSE(touched_parts(table, table.active, {"id"}, touched));
}

TEST(TouchedParts, KeysOfSeveralColumnsAreAskedForOneByOne) {
  auto table = both("text");
  for (auto* side : {&table.active, &*table.passive}) side->columns[1].is_key = true;
  TouchedRows touched;
  touched.add({"1", "it's"}, TouchedRows::Kind::kOther, 1);
  const auto parts = *touched_parts(table, table.active, {"v", "id"}, touched);
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].active.where, R"(("id" = 'it''s' and "v" = '1'))");
}

TEST(TouchedParts, OtherKeysAreAskedForOneByOneWithinTheMappedRows) {
  auto table = both("text");
  table.active.where = "tenant = 7";
  const auto parts = parts_of(table, {"a"});
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].active.where, R"((tenant = 7) and ("id" in ('a')))");
  EXPECT_EQ(parts[0].passive->where, R"("id" in ('a'))");
}

TEST(TouchedParts, ManyKeysAreSeveralParts) {
  std::vector<std::string> keys;
  for (int key = 0; key < 1000; key += 2) keys.push_back(std::to_string(key));
  EXPECT_EQ(parts_of(both("integer"), keys).size(), 3U);
}

}  // namespace
}  // namespace banyan::replication
