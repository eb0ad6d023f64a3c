#include "planes/replication/set_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

using pg::CellKind;
using namespace std::string_view_literals;

pg::Cell text(std::string_view value) {
  return {.kind = CellKind::kText, .bytes = value};
}
constexpr pg::Cell kKept{.kind = CellKind::kUnchangedToast, .bytes = {}};
constexpr pg::Cell kNothing{.kind = CellKind::kNull, .bytes = {}};

RowPlan orders() {
  Table table;
  table.schema = "public";
  table.name = "orders";
  table.columns = {{.name = "id", .type = "bigint"}, {.name = "note", .type = "varchar(9)"}};
  table.primary_key = {"id"};
  Relation relation;
  relation.schema = "public";
  relation.name = "orders";
  relation.columns = {{.name = "id", .is_key = true}, {.name = "note", .is_key = false}};
  return *RowPlan::create(relation, table, TableMapping());
}

struct Orders {
  RowPlan rows = orders();
  SetPlan plan{rows,
               {{.element = SetPlan::Element::kInt8, .type = "bigint", .collation = {}},
                {.element = SetPlan::Element::kText, .type = "varchar", .collation = {}}}};
  pg::Tuple row{text("1"), text("x")};
  NetChange change{.key = &row, .row = &row};
};

TEST(SetPlan, DeletesByKey) {
  const Orders orders;
  const auto statement = orders.plan.remove({&orders.change}, Text::kYes);
  EXPECT_EQ(statement->sql,
            R"(delete from only "public"."orders" t using unnest($1::int8[]) as u(c0) )"
            R"(where t."id" = u.c0)");
  EXPECT_EQ(statement->arrays.size(), 1U);
}

TEST(SetPlan, UpdatesOnlyWhatIsKnown) {
  Orders orders;
  EXPECT_EQ(orders.plan.update({&orders.change}, Text::kYes)->sql,
            R"(update only "public"."orders" t set "note" = u.c1::varchar )"
            R"(from unnest($1::int8[], $2::text[]) as u(c0, c1) where t."id" = u.c0)");
  orders.row[1] = kKept;
  std::string shape;
  orders.plan.update_shape(orders.change, shape);
  EXPECT_EQ(shape, "u00");
}

TEST(SetPlan, InsertsWholeRowsWithoutLengthsInTheCast) {
  const Orders orders;
  EXPECT_EQ(orders.plan.insert({&orders.change}, Text::kYes)->sql,
            R"(insert into "public"."orders" ("id", "note") overriding system value )"
            R"(select u.c0, u.c1::varchar from unnest($1::int8[], $2::text[]) as u(c0, c1))");
}

TEST(SetPlan, EscapesWhatCopyWouldReadOtherwise) {
  const auto rows = orders();
  std::string line;
  SetPlan::append_copy_row(line, {text("1"), text("a\tb\\N\nc\r")}, rows);
  SetPlan::append_copy_row(line, {text("2"), kNothing}, rows);
  EXPECT_EQ(line, "1\ta\\tb\\\\N\\nc\\r\n2\t\\N\n");
}

TEST(EncodeArray, WritesTheServersBinaryForm) {
  const auto one = text("258");
  const auto array = encode_array(SetPlan::Element::kInt4, {&one, &kNothing});
  ASSERT_TRUE(array);
  EXPECT_EQ(*array, "\0\0\0\1\0\0\0\1\0\0\0\x17\0\0\0\2\0\0\0\1\0\0\0\4\0\0\1\2\xff\xff\xff\xff"sv);
}

TEST(EncodeArray, TakesUuidsAndRefusesWhatIsNone) {
  const auto good = text("00112233-4455-6677-8899-aabbccddeeff");
  const auto array = encode_array(SetPlan::Element::kUuid, {&good});
  ASSERT_TRUE(array);
  EXPECT_EQ(array->substr(24),
            "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"sv);
  const auto bad = text("00112233");
  EXPECT_FALSE(encode_array(SetPlan::Element::kUuid, {&bad}));
  const auto letters = text("12x");
  EXPECT_FALSE(encode_array(SetPlan::Element::kInt8, {&letters}));
  const auto large = text("40000");
  EXPECT_FALSE(encode_array(SetPlan::Element::kInt2, {&large}));
}

}  // namespace
}  // namespace banyan::replication
