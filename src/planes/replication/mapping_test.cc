#include "planes/replication/mapping.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace banyan::replication {
namespace {

using nlohmann::json;

json orders() {
  return json::parse(R"([{"table": "orders", "to": "sales.orders", "columns": {"id": "order_id"},
                          "without": ["secret"], "where": "tenant = 7"}])");
}

TEST(Mapping, NamesTheTableAndColumnsOfTheOtherSide) {
  const auto mapping = Mapping::parse(orders());
  ASSERT_TRUE(mapping);
  const auto* table = mapping->find("public", "orders");
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->target_schema, "sales");
  EXPECT_EQ(table->target_column("id"), "order_id");
  EXPECT_EQ(table->target_column("note"), "note");
  EXPECT_FALSE(table->has_column("secret"));
}

TEST(Mapping, LeavesUnnamedTablesAsTheyAre) {
  const auto mapping = Mapping::parse(orders());
  EXPECT_EQ(mapping->find("public", "other"), nullptr);
  EXPECT_EQ(mapping->of("public", "other").target_table, "other");
}

TEST(Mapping, TurnedRoundItLeadsBackAndKnowsWhichRowsAreItsOwn) {
  const auto back = Mapping::parse(orders())->reversed();
  const auto* table = back.find("sales", "orders");
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->target_schema, "public");
  EXPECT_EQ(table->target_column("order_id"), "id");
  EXPECT_TRUE(table->where.empty());
  EXPECT_EQ(table->where_there, "tenant = 7");
}

TEST(Mapping, ListedTablesHaveTheirNamesOfTheOtherSide) {
  const auto mapping = Mapping::parse(json::parse(
      R"([{"table": "orders", "to": "sales.orders"},
          {"table": "public.\"Odd.One\"", "to": "odd"}])"));
  EXPECT_EQ(mapping->names_there({"public.orders", "\"public\".\"Odd.One\"", "public.other"}),
            (TableNames{"\"sales\".\"orders\"", "\"public\".\"odd\"", "public.other"}));
}

TEST(Mapping, NamesAreWrittenAsInSql) {
  EXPECT_EQ(parse_table_name("Shop.Orders").table, "orders");
  EXPECT_EQ(parse_table_name("Orders").schema, "public");
  EXPECT_EQ(parse_table_name(R"("Shop"."a""b.c")").schema, "Shop");
  EXPECT_EQ(parse_table_name(R"("Shop"."a""b.c")").table, "a\"b.c");
  EXPECT_EQ(parse_table_name("\"unclosed").table, "unclosed");
}

TEST(Mapping, TwoTablesCannotBecomeOne) {
  const auto mapping =
      Mapping::parse(json::parse(R"([{"table": "a", "to": "t"}, {"table": "b", "to": "t"}])"));
  ASSERT_FALSE(mapping);
  EXPECT_EQ(mapping.error().code(), Code::kInvalidArgument);
}

TEST(Mapping, RefusesWhatItDoesNotKnow) {
  EXPECT_FALSE(Mapping::parse(json::parse(R"([{"table": "a", "filter": "x"}])")));
  EXPECT_FALSE(Mapping::parse(json::parse(R"([{"to": "a"}])")));
  EXPECT_FALSE(Mapping::parse(json::parse(R"([{"table": 7}])")));
  EXPECT_FALSE(
      Mapping::parse(json::parse(R"([{"table": "a", "columns": {"x": "y"}, "without": ["x"]}])")));
}

TEST(Mapping, PartitionsOfANamedRootMoveThroughIt) {
  const auto mapping =
      Mapping::parse(json::parse(R"([{"table": "events"}, {"table": "parts_1"}])"));
  ASSERT_TRUE(mapping);
  FencedTable root{.qualified = "public.events", .is_partitioned = true, .root = ""};
  FencedTable leaf{.qualified = "public.events_1", .root = "public.events"};
  FencedTable middle{
      .qualified = "public.events_2", .is_partitioned = true, .root = "public.events"};
  FencedTable other_root{.qualified = "public.parts", .is_partitioned = true, .root = ""};
  FencedTable other_leaf{.qualified = "public.parts_1", .root = "public.parts"};
  const auto moving = mapping->moving({root, leaf, middle, other_root, other_leaf});
  ASSERT_EQ(moving.size(), 2u);
  EXPECT_EQ(moving[0].qualified, "public.events");
  EXPECT_EQ(moving[1].qualified, "public.parts_1");
  EXPECT_TRUE(mapping->has_root_of(leaf));
  EXPECT_FALSE(mapping->has_root_of(other_leaf));
}

}  // namespace
}  // namespace banyan::replication
