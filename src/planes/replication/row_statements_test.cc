#include "planes/replication/row_statements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

using pg::CellKind;
using ::testing::HasSubstr;

pg::Cell text(std::string_view value) {
  return {.kind = CellKind::kText, .bytes = value};
}
constexpr pg::Cell kKept{.kind = CellKind::kUnchangedToast, .bytes = {}};
constexpr pg::Cell kNothing{.kind = CellKind::kNull, .bytes = {}};

Table orders() {
  Table table;
  table.schema = "public";
  table.name = "orders";
  table.columns = {{.name = "id", .type = "bigint"}, {.name = "note", .type = "text"}};
  table.primary_key = {"id"};
  return table;
}

Relation described(char identity, bool is_key) {
  Relation relation;
  relation.schema = "public";
  relation.name = "orders";
  relation.replica_identity = identity;
  relation.columns = {{.name = "id", .is_key = is_key},
                      {.name = "note", .is_key = identity == 'f'}};
  return relation;
}

Change update(pg::Tuple old_row, pg::Tuple row) {
  Change change;
  change.operation = Operation::kUpdate;
  change.old_row = std::move(old_row);
  change.row = std::move(row);
  return change;
}

TEST(RowPlan, AnUpdateLeavesUnchangedToastAlone) {
  const auto plan = RowPlan::create(described('d', true), orders(), TableMapping());
  const auto change = update({}, {text("1"), kKept});
  const auto statement = plan->statement(change, Text::kYes);
  ASSERT_TRUE(statement);
  EXPECT_FALSE(statement->is_needed);
}

TEST(RowPlan, AChangedKeyFindsTheRowByTheOldOne) {
  const auto plan = RowPlan::create(described('d', true), orders(), TableMapping());
  const auto change = update({text("1"), kNothing}, {text("2"), text("x")});
  const auto statement = plan->statement(change, Text::kYes);
  EXPECT_EQ(statement->sql,
            R"(update only "public"."orders" set "id" = $1, "note" = $2 where "id" = $3)");
  EXPECT_EQ(statement->params.back()->bytes, "1");
}

TEST(RowPlan, ATableWithoutKeyChangesExactlyOneOfItsEqualRows) {
  auto table = orders();
  table.primary_key.clear();
  const auto plan = RowPlan::create(described('f', true), table, TableMapping());
  const auto change = update({text("1"), kNothing}, {text("1"), text("x")});
  const auto statement = plan->statement(change, Text::kYes);
  EXPECT_THAT(statement->sql, HasSubstr("is not distinct from $4::text::text limit 1)"));
  EXPECT_EQ(statement->params.size(), 4U);
}

TEST(RowPlan, FullIdentityUsesThePrimaryKeyThatIsThere) {
  const auto plan = RowPlan::create(described('f', true), orders(), TableMapping());
  const auto change = update({text("1"), text("a")}, {text("1"), text("b")});
  EXPECT_EQ(plan->statement(change, Text::kYes)->sql,
            R"(update only "public"."orders" set "note" = $1 where "id" = $2)");
}

TEST(RowPlan, GeneratedColumnsAreNeverWritten) {
  auto table = orders();
  table.columns[1].is_generated = true;
  const auto plan = RowPlan::create(described('d', true), table, TableMapping());
  Change change;
  change.row = {text("1"), text("x")};
  EXPECT_EQ(plan->statement(change, Text::kYes)->sql,
            R"(insert into "public"."orders" ("id") overriding system value values ($1))");
}

TEST(RowPlan, AnAlwaysIdentityKeyMovesByDeleteAndInsertAndKeepsItsToast) {
  auto table = orders();
  table.columns[0].identity = 'a';
  const auto plan = RowPlan::create(described('d', true), table, TableMapping());
  const auto change = update({text("1"), kNothing}, {text("2"), kKept});
  const auto statement = plan->statement(change, Text::kYes);
  EXPECT_THAT(statement->sql, HasSubstr("delete from only"));
  EXPECT_THAT(statement->sql, HasSubstr(R"(select $1::bigint, gone."note" from gone)"));
}

TEST(RowPlan, TextAndParametersAreOfOneShape) {
  const auto plan = RowPlan::create(described('d', true), orders(), TableMapping());
  const auto change = update({text("1"), kNothing}, {text("2"), text("x")});
  const auto bound = plan->statement(change, Text::kNo);
  const auto written = plan->statement(change, Text::kYes);
  EXPECT_EQ(bound->shape, written->shape);
  EXPECT_EQ(bound->params, written->params);
  EXPECT_TRUE(bound->sql.empty());
}

TEST(RowPlan, AColumnThatIsMissingHereIsAConflictWithARemedy) {
  auto table = orders();
  table.columns.pop_back();
  const auto plan = RowPlan::create(described('d', true), table, TableMapping());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code(), Code::kConflict);
  EXPECT_FALSE(plan.error().remedy().empty());
}

TEST(RowPlan, ARowOfAnotherWidthIsCorruption) {
  const auto plan = RowPlan::create(described('d', true), orders(), TableMapping());
  EXPECT_FALSE(plan->statement(update({}, {text("1")}), Text::kYes));
}

}  // namespace
}  // namespace banyan::replication
