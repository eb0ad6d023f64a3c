#include "planes/replication/change_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

namespace m = pg::message;

pg::Cell text(std::string_view value) {
  return {.kind = pg::CellKind::kText, .bytes = value};
}

// A stream of migration "shop" out of its old side, fed by hand.
struct Fed {
  TransactionAssembler assembler{"shop", "shop:new"};
  std::vector<Fragment> out;

  void feed(const pg::PgOutputMessage& message) {
    ASSERT_TRUE(assembler.feed(message, [this](Fragment f) { out.push_back(std::move(f)); }));
  }
  void describe(std::uint32_t id, std::string_view schema, std::string_view name,
                std::string_view first, std::string_view second) {
    feed(m::Relation{.id = id,
                     .schema = schema,
                     .name = name,
                     .replica_identity = 'd',
                     .columns = {{.is_key = true, .name = first}, {.name = second}}});
  }
  void begin() {
    feed(m::Begin{.commit_lsn = pg::Lsn(100), .commit_time_us = 7, .xid = 5});
    describe(1, "public", "orders", "id", "note");
    describe(2, "banyan", "progress", "stream", "lsn");
    describe(3, "banyan", "barrier", "name", "epoch");
  }
  void commit() {
    feed(m::Commit{.commit_lsn = pg::Lsn(100), .end_lsn = pg::Lsn(120), .commit_time_us = 7});
  }
};

TEST(TransactionAssembler, GivesATransactionOnceItIsCommitted) {
  Fed fed;
  fed.begin();
  fed.feed(m::Insert{.relation = 1, .row = {text("1"), text("x")}});
  EXPECT_TRUE(fed.out.empty());
  fed.commit();
  ASSERT_EQ(fed.out.size(), 1U);
  EXPECT_TRUE(fed.out[0].is_first && fed.out[0].is_last);
  EXPECT_EQ(fed.out[0].end, pg::Lsn(120));
  EXPECT_STREQ(fed.out[0].changes[0].row[1].bytes.data(), "x");
}

TEST(TransactionAssembler, KeepsARelationThatANewConnectionDescribesAlike) {
  Fed fed;
  const auto insert = [&] {
    fed.begin();
    fed.feed(m::Insert{.relation = 1, .row = {text("1"), text("x")}});
    fed.commit();
    return fed.out.back().changes[0].relation;
  };
  const auto before = insert();
  fed.assembler.begin_anew();
  fed.feed(m::Begin{.commit_lsn = pg::Lsn(100), .commit_time_us = 7, .xid = 6});
  const auto sink = [](const Fragment&) {};
  EXPECT_FALSE(fed.assembler.feed(m::Insert{.relation = 1, .row = {text("2"), text("y")}}, sink));
  fed.assembler.begin_anew();
  EXPECT_EQ(insert(), before);
  fed.assembler.begin_anew();
  fed.feed(m::Begin{.commit_lsn = pg::Lsn(100), .commit_time_us = 7, .xid = 7});
  fed.describe(1, "public", "orders", "id", "remark");
  fed.feed(m::Insert{.relation = 1, .row = {text("3"), text("z")}});
  fed.commit();
  EXPECT_NE(fed.out.back().changes[0].relation, before);
}

TEST(TransactionAssembler, TellsChangesOfTheSchemaButNotThoseItRepeated) {
  for (const bool is_ours : {false, true}) {
    Fed fed;
    fed.begin();
    fed.describe(4, "banyan", "ddl_log", "relation", "shape");
    if (is_ours) {
      fed.feed(m::Update{
          .relation = 2, .old_kind = {}, .old_row = {}, .row = {text("shop:new"), text("0/1")}});
    }
    fed.feed(m::Insert{.relation = 4, .row = {text("public.orders"), text("[]")}});
    fed.commit();
    ASSERT_EQ(fed.out.size(), 1U);
    ASSERT_EQ(fed.out[0].ddl.size(), is_ours ? 0U : 1U);
    EXPECT_EQ(fed.out[0].is_transaction, !is_ours);
    if (!is_ours) EXPECT_EQ(fed.out[0].ddl[0].relation, "public.orders");
    EXPECT_TRUE(fed.out[0].changes.empty());
  }
}

TEST(TransactionAssembler, LeavesOutWhatTheMigrationItselfApplied) {
  Fed fed;
  fed.begin();
  fed.feed(m::Update{
      .relation = 2, .old_kind = {}, .old_row = {}, .row = {text("shop:new"), text("0/1")}});
  fed.feed(m::Insert{.relation = 1, .row = {text("1"), text("x")}});
  fed.commit();
  ASSERT_EQ(fed.out.size(), 1U);
  EXPECT_FALSE(fed.out[0].is_transaction);
  EXPECT_EQ(fed.out[0].end, pg::Lsn(120));
}

TEST(TransactionAssembler, KeepsWhatAnotherMigrationApplied) {
  Fed fed;
  fed.begin();
  fed.feed(m::Update{
      .relation = 2, .old_kind = {}, .old_row = {}, .row = {text("other:old"), text("0/1")}});
  fed.feed(m::Insert{.relation = 1, .row = {text("1"), text("x")}});
  fed.commit();
  ASSERT_EQ(fed.out.size(), 1U);
  EXPECT_TRUE(fed.out[0].is_transaction);
}

TEST(TransactionAssembler, ReportsOnlyItsOwnBarrier) {
  Fed fed;
  fed.begin();
  fed.feed(m::Insert{.relation = 3, .row = {text("other"), text("8")}});
  fed.feed(m::Insert{.relation = 3, .row = {text("shop"), text("9")}});
  fed.commit();
  EXPECT_EQ(fed.out[0].barrier_epoch, 9);
}

TEST(TransactionAssembler, LeavesOutWhatOthersCarryThatShareTheLog) {
  Fed fed;
  TransactionAssembler assembler("shop", "shop:new",
                                 [](const Relation& relation) { return relation.name != "users"; });
  const auto feed = [&](const pg::PgOutputMessage& message) {
    ASSERT_TRUE(assembler.feed(message, [&](Fragment f) { fed.out.push_back(std::move(f)); }));
  };
  feed(m::Begin{.commit_lsn = pg::Lsn(100), .commit_time_us = 7, .xid = 5});
  for (const auto& [id, name] : {std::pair(1U, "orders"), std::pair(2U, "users")}) {
    feed(m::Relation{.id = id,
                     .schema = "public",
                     .name = name,
                     .replica_identity = 'd',
                     .columns = {{.is_key = true, .name = "id"}}});
  }
  feed(m::Insert{.relation = 2, .row = {text("1")}});
  feed(m::Insert{.relation = 1, .row = {text("2")}});
  feed(m::Truncate{.cascade = false, .restart_identity = false, .relations = {1, 2}});
  feed(m::Commit{.commit_lsn = pg::Lsn(100), .end_lsn = pg::Lsn(120), .commit_time_us = 7});
  ASSERT_EQ(fed.out.size(), 1U);
  ASSERT_EQ(fed.out[0].changes.size(), 2U);
  EXPECT_EQ(fed.out[0].changes[0].relation->name, "orders");
  EXPECT_EQ(fed.out[0].changes[1].truncated.size(), 1U);
}

TEST(TransactionAssembler, CutsAHugeTransactionIntoFragmentsOfOne) {
  Fed fed;
  fed.begin();
  const std::string wide(300'000, 'x');
  for (int i = 0; i < 9; ++i) fed.feed(m::Insert{.relation = 1, .row = {text("1"), text(wide)}});
  fed.commit();
  ASSERT_EQ(fed.out.size(), 3U);
  EXPECT_TRUE(fed.out[0].is_first && !fed.out[0].is_last);
  EXPECT_TRUE(!fed.out[1].is_first && !fed.out[1].is_last);
  EXPECT_TRUE(!fed.out[2].is_first && fed.out[2].is_last);
  EXPECT_EQ(fed.out[0].commit, fed.out[2].commit);
}

TEST(TransactionAssembler, AChangeOfAnUnknownRelationIsCorruption) {
  Fed fed;
  fed.begin();
  const auto fed_in = fed.assembler.feed(m::Insert{.relation = 77, .row = {}}, [](Fragment) {});
  ASSERT_FALSE(fed_in);
  EXPECT_EQ(fed_in.error().code(), Code::kCorruption);
}

}  // namespace
}  // namespace banyan::replication
