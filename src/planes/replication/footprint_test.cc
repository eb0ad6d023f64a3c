#include "planes/replication/footprint.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

using Columns = TableFootprint::Columns;
using Grain = TableFootprint::Grain;

pg::Cell text(std::string_view value) {
  return {.kind = pg::CellKind::kText, .bytes = value};
}
constexpr pg::Cell kNothing{.kind = pg::CellKind::kNull, .bytes = {}};

Change inserted(pg::Tuple row) {
  Change change;
  change.row = std::move(row);
  return change;
}

Footprint of(const TableFootprint& table, const Change& change) {
  Footprint out;
  table.add(change, out);
  return out;
}

// Key in column 0, something unique in column 1, the key of another table in column 2.
const TableFootprint kTable(Grain::kRows, 99, {{1, {0}}, {2, {1}}}, {{3, {2}}});
// The other one: its key is what column 2 names.
const TableFootprint kOther(Grain::kRows, 98, {{3, {0}}}, {});

TEST(Footprint, ARowIsToldByItsKeyAndByWhatIsUnique) {
  const auto one = of(kTable, inserted({text("1"), text("u"), kNothing}));
  const auto same_unique = of(kTable, inserted({text("2"), text("u"), kNothing}));
  ASSERT_EQ(one.writes.size(), 2U);
  EXPECT_NE(one.writes[0], same_unique.writes[0]);
  EXPECT_EQ(one.writes[1], same_unique.writes[1]);
}

TEST(Footprint, NullsAreNotEqual) {
  EXPECT_EQ(of(kTable, inserted({text("1"), kNothing, kNothing})).writes.size(), 1U);
}

TEST(Footprint, AChangedKeyTouchesBoth) {
  Change moved = inserted({text("2"), kNothing, kNothing});
  moved.operation = Operation::kUpdate;
  moved.old_row = {text("1"), kNothing, kNothing};
  EXPECT_EQ(of(kTable, moved).writes.size(), 2U);
}

TEST(Footprint, AReferenceReadsTheKeyItNames) {
  const auto child = of(kTable, inserted({text("1"), kNothing, text("7")}));
  const auto parent = of(kOther, inserted({text("7")}));
  EXPECT_EQ(child.reads, parent.writes);
}

TEST(Footprint, WithoutAKeyInsertsGoTogetherAndEverythingElseAlone) {
  const TableFootprint keyless(Grain::kRows, 99, {}, {});
  EXPECT_EQ(of(keyless, inserted({text("1")})).reads, std::vector<Touch>{99});
  Change removed;
  removed.operation = Operation::kDelete;
  removed.old_row = {text("1")};
  EXPECT_EQ(of(keyless, removed).writes, std::vector<Touch>{99});
}

TEST(Footprint, ANetChangeMeetsWhatItsChangesTouched) {
  const pg::Tuple row{text("1"), text("u"), kNothing};
  const auto touched = of(kTable, inserted(row));
  const NetChange net{.key = &row, .row = &row};
  EXPECT_TRUE(kTable.meets(net, {touched.writes[0]}));
  EXPECT_TRUE(kTable.meets(net, {touched.writes[1]}));
  EXPECT_FALSE(kTable.meets(net, {12345}));
  const TableFootprint whole(Grain::kTable, 99, {{1, {0}}}, {});
  EXPECT_TRUE(whole.meets(net, {99}));
}

TEST(Footprint, TheOrderOfColumnsDoesNotMatter) {
  EXPECT_EQ(seed_of(1, {"a", "b"}), seed_of(1, {"b", "a"}));
  EXPECT_NE(seed_of(1, {"a"}), seed_of(2, {"a"}));
}

}  // namespace
}  // namespace banyan::replication
