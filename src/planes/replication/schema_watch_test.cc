#include "planes/replication/schema_watch.h"

#include <gtest/gtest.h>

#include "planes/replication/ddl_gate.h"

namespace banyan::replication {
namespace {

Shapes shape(std::string_view json) {
  auto parsed = parse_shape(json);
  EXPECT_TRUE(parsed);
  return parsed ? *parsed : Shapes();
}

constexpr std::string_view kNarrow = R"([[1,"table","public.t","r","public.t"],
  [3,"column","public.t.id","integer not null",""]])";
constexpr std::string_view kWide = R"([[1,"table","public.t","r","public.t"],
  [3,"column","public.t.id","bigint not null",""],
  [3,"column","public.t.b","text","alter table public.t add column b text"],
  [3,"column","public.t.a","text","alter table public.t add column a text"]])";

TEST(SchemaWatch, AnUnreadableShapeIsAnError) {
  for (const auto* json : {"", "{}", "[[]]", "[[1,2,3]]", "[{\"a\":1}]", "[[\"x\",2,3,4,5]]"}) {
    EXPECT_FALSE(parse_shape(json)) << json;
  }
}

TEST(SchemaWatch, AddedColumnsComeInTheirOrder) {
  const auto found = compare_shapes(shape(kWide), shape(kNarrow));
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].object, "public.t.id");
  EXPECT_EQ(found[1].object, "public.t.b");
  EXPECT_EQ(found[2].object, "public.t.a");
}

TEST(SchemaWatch, WhatIsGoneHasNoRepair) {
  const auto columns = compare_shapes(shape(kNarrow), shape(kWide));
  ASSERT_EQ(columns.size(), 3U);
  const auto table = compare_shapes(shape("[]"), shape(kNarrow));
  ASSERT_EQ(table.size(), 1U);
  EXPECT_EQ(table[0].kind, "table");
  EXPECT_FALSE(table[0].is_new_table());
}

TEST(DdlGate, RepeatsAllOrNothing) {
  auto found = compare_shapes(shape(kWide), shape(kNarrow));
  EXPECT_FALSE(may_repeat(DdlPolicy::kApplySafe, found));  // another type
  found.erase(found.begin());
  EXPECT_TRUE(may_repeat(DdlPolicy::kApplySafe, found));
  EXPECT_FALSE(may_repeat(DdlPolicy::kStop, found));
}

}  // namespace
}  // namespace banyan::replication
