#include "planes/replication/compaction.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

using pg::CellKind;

pg::Cell text(std::string_view value) {
  return {.kind = CellKind::kText, .bytes = value};
}
constexpr pg::Cell kKept{.kind = CellKind::kUnchangedToast, .bytes = {}};
constexpr pg::Cell kNothing{.kind = CellKind::kNull, .bytes = {}};

Change inserted(pg::Tuple row) {
  Change change;
  change.operation = Operation::kInsert;
  change.row = std::move(row);
  return change;
}
Change updated(pg::Tuple row, pg::Tuple old_row = {}) {
  Change change;
  change.operation = Operation::kUpdate;
  change.old_kind = pg::message::OldRow::kKey;
  change.old_row = std::move(old_row);
  change.row = std::move(row);
  return change;
}
Change deleted(pg::Tuple old_row) {
  Change change;
  change.operation = Operation::kDelete;
  change.old_row = std::move(old_row);
  return change;
}

// Rows of two columns, the first is the key.
struct Compacted {
  std::vector<Change> changes;
  Compaction net{{0}};
  bool is_possible = true;
  explicit Compacted(std::vector<Change> given) : changes(std::move(given)) {
    for (const auto& change : changes) is_possible = is_possible && net.add(change);
  }
};

TEST(Compaction, AnInsertedRowThatIsUpdatedIsInsertedAsItIsInTheEnd) {
  const Compacted all({inserted({text("1"), text("a")}), updated({text("1"), text("b")})});
  ASSERT_TRUE(all.is_possible);
  ASSERT_EQ(all.net.rows().size(), 1U);
  EXPECT_TRUE(all.net.rows()[0].is_inserted());
  EXPECT_FALSE(all.net.rows()[0].is_deleted());
  EXPECT_EQ((*all.net.rows()[0].row)[1].bytes, "b");
}

TEST(Compaction, ALaterUnchangedValueKeepsTheEarlierOne) {
  const Compacted all({updated({text("1"), text("long")}), updated({text("1"), kKept})});
  ASSERT_TRUE(all.is_possible);
  EXPECT_TRUE(all.net.rows()[0].is_updated());
  EXPECT_EQ((*all.net.rows()[0].row)[1].bytes, "long");
}

TEST(Compaction, ARowThatCameAndWentIsNothing) {
  const Compacted all({inserted({text("1"), text("a")}), deleted({text("1"), kNothing})});
  ASSERT_TRUE(all.is_possible);
  const auto& row = all.net.rows()[0];
  EXPECT_FALSE(row.is_inserted() || row.is_updated() || row.is_deleted());
}

TEST(Compaction, ARowThatWentAndCameIsReplaced) {
  const Compacted all({deleted({text("1"), kNothing}), inserted({text("1"), text("new")}),
                       updated({text("1"), text("newer")})});
  ASSERT_TRUE(all.is_possible);
  EXPECT_TRUE(all.net.rows()[0].is_deleted() && all.net.rows()[0].is_inserted());
  EXPECT_EQ((*all.net.rows()[0].row)[1].bytes, "newer");
}

TEST(Compaction, AnUpdatedRowThatIsDeletedIsDeleted) {
  const Compacted all({updated({text("1"), text("a")}), deleted({text("1"), kNothing})});
  ASSERT_TRUE(all.is_possible);
  EXPECT_TRUE(all.net.rows()[0].is_deleted());
  EXPECT_FALSE(all.net.rows()[0].is_inserted());
}

TEST(Compaction, KeysThatRotateBecomeReplacements) {
  const Compacted all({updated({text("0"), text("a")}, {text("1"), kNothing}),
                       updated({text("1"), text("b")}, {text("2"), kNothing}),
                       updated({text("2"), text("a")}, {text("0"), kNothing})});
  ASSERT_TRUE(all.is_possible);
  ASSERT_EQ(all.net.rows().size(), 3U);
  for (const auto& row : all.net.rows()) {
    const auto key = (*row.key)[0].bytes;
    EXPECT_EQ(row.is_deleted(), key != "0") << key;
    EXPECT_EQ(row.is_inserted(), key != "0") << key;
  }
}

TEST(Compaction, AMovedRowTakesItsUnchangedValueAlong) {
  const Compacted known(
      {updated({text("1"), text("long")}), updated({text("2"), kKept}, {text("1"), kNothing})});
  ASSERT_TRUE(known.is_possible);
  EXPECT_EQ((*known.net.rows()[1].row)[1].bytes, "long");
  const Compacted unknown({updated({text("2"), kKept}, {text("1"), kNothing})});
  EXPECT_FALSE(unknown.is_possible);
}

TEST(Compaction, ContradictionsAreNotCompacted) {
  EXPECT_FALSE(
      Compacted({inserted({text("1"), text("a")}), inserted({text("1"), text("b")})}).is_possible);
  EXPECT_FALSE(
      Compacted({deleted({text("1"), kNothing}), updated({text("1"), text("b")})}).is_possible);
  EXPECT_FALSE(Compacted({deleted({kNothing, kNothing})}).is_possible);
}

TEST(Compaction, WithoutAKeyOnlyInsertsAreTaken) {
  std::vector<Change> changes{inserted({text("1"), text("a")}), inserted({text("1"), text("a")}),
                              deleted({text("1"), text("a")})};
  Compaction net({});
  EXPECT_TRUE(net.add(changes[0]) && net.add(changes[1]));
  EXPECT_EQ(net.rows().size(), 2U);
  EXPECT_FALSE(net.add(changes[2]));
}

TEST(Compaction, KeysOfSeveralColumnsAreNotConfused) {
  std::vector<Change> changes{inserted({text("ab"), text("c")}), inserted({text("a"), text("bc")})};
  Compaction net({0, 1});
  EXPECT_TRUE(net.add(changes[0]) && net.add(changes[1]));
  EXPECT_EQ(net.rows().size(), 2U);
}

}  // namespace
}  // namespace banyan::replication
