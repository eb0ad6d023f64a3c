#include "planes/replication/proof.h"

#include <gtest/gtest.h>

#include <fstream>

#include "planes/replication/proof_pass.h"
#include "planes/replication/sample_tables.h"

namespace banyan::replication {
namespace {

constexpr const char* kShape = "two columns";

class ProofTest : public testing::Test {
 protected:
  ProofTest() : folder_(testing::TempDir() + "/" + name()) { reopen(); }
  ~ProofTest() override {
    proof_.reset();
    std::filesystem::remove_all(folder_);
  }
  static std::string name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  std::filesystem::path file() const { return folder_ / "proof.jsonl"; }
  // As a role that was killed finds it.
  Proof& reopen(std::size_t key_bytes_most = Proof::kKeyBytesMost) {
    proof_.reset();
    proof_ = std::make_unique<Proof>(file(), key_bytes_most);
    return *proof_;
  }
  void prove(const std::string& table, std::int64_t rows = 100) {
    proof_->close(proof_->open(), {{table, equal(rows)}}, "0/10");
  }
  static TableFinding equal(std::int64_t rows) {
    return {.is_equal = true, .is_whole = true, .shape = kShape, .rows = rows};
  }
  void touch(const std::string& table, const std::string& key) {
    ASSERT_TRUE(proof_->touch(
        {{table, {.columns = {"id"}, .kind = TouchedRows::Kind::kNumber, .keys = {{key}}}}}));
  }
  void touch_word(const std::string& table, const std::string& key) {
    ASSERT_TRUE(proof_->touch({{table, {.columns = {"word"}, .keys = {{key}}}}}));
  }
  std::vector<TouchedRows::Key> last() { return *proof_->last_touched("public.t").touched.keys(); }
  TouchedRows::Range touched() {
    const auto ranges = proof_->table("public.t")->touched.ranges();
    return ranges.empty() ? TouchedRows::Range{0, 0} : ranges.front();
  }

  std::filesystem::path folder_;
  std::unique_ptr<Proof> proof_;
};

TEST_F(ProofTest, NothingIsProvenBeforeItIsCompared) {
  EXPECT_FALSE(proof_->is_watching());
  touch("public.t", "7");
  EXPECT_TRUE(proof_->standing().empty());
}

TEST_F(ProofTest, WhatWasEqualIsProvenAndStaysSoAfterAKill) {
  prove("public.t");
  const auto table = reopen().table("public.t");
  ASSERT_TRUE(table);
  EXPECT_EQ(table->rows, 100);
  EXPECT_EQ(table->position, "0/10");
  EXPECT_TRUE(table->touched.empty());
}

TEST_F(ProofTest, WhatIsTouchedIsNotBelievedAfterAKill) {
  prove("public.t");
  touch("public.t", "7");
  reopen();
  EXPECT_EQ(touched(), TouchedRows::Range(7, 7));
  touch("public.t", "8");
  reopen();
  EXPECT_EQ(touched(), TouchedRows::Range(7, 8));
}

TEST_F(ProofTest, ATornLineIsOfAWriteThatNeverWas) {
  prove("public.t");
  touch("public.t", "7");
  std::ofstream(file(), std::ios::app) << R"({"table":"public.t","ke)";
  reopen();
  EXPECT_EQ(touched(), TouchedRows::Range(7, 7));
  touch("public.t", "8");
  reopen();
  EXPECT_EQ(touched(), TouchedRows::Range(7, 8));
}

TEST_F(ProofTest, WhatIsTouchedWhileItIsComparedIsNotProven) {
  const auto begun = proof_->open();
  touch("public.t", "7");
  proof_->close(begun, {{"public.t", equal(100)}}, "0/10");
  reopen();
  EXPECT_EQ(touched(), TouchedRows::Range(7, 7));
}

TEST_F(ProofTest, AnotherComparisonSettlesWhatWasTouchedBefore) {
  prove("public.t");
  touch("public.t", "7");
  const auto begun = proof_->open();
  touch("public.t", "9");
  proof_->close(begun, {{"public.t", {.is_equal = true, .shape = kShape, .rows = 1}}}, "0/20");
  EXPECT_EQ(touched(), TouchedRows::Range(9, 9));
  EXPECT_EQ(proof_->table("public.t")->rows, 100) << "those of the last whole comparison";
  EXPECT_EQ(proof_->table("public.t")->position, "0/20");
}

TEST_F(ProofTest, WhatDiffersIsNotProvenAnyMore) {
  prove("public.t");
  proof_->close(proof_->open(), {{"public.t", {.is_equal = false, .shape = kShape}}}, "0/20");
  EXPECT_FALSE(proof_->table("public.t"));
  EXPECT_FALSE(reopen().table("public.t"));
}

TEST_F(ProofTest, AnOlderComparisonDoesNotSpeakAgainstOneThatFoundADifference) {
  const auto older = proof_->open();
  proof_->close(proof_->open(), {{"public.t", {.is_whole = true, .shape = kShape}}}, "0/20");
  proof_->close(older, {{"public.t", equal(100)}}, "0/10");
  EXPECT_FALSE(proof_->table("public.t"));
  prove("public.t");
  EXPECT_TRUE(proof_->table("public.t"));
}

TEST_F(ProofTest, NothingIsWrittenWhileAFileSaysMoreThanIsTrue) {
  ASSERT_TRUE(proof_->claimed("shop:old", 4));
  prove("public.t");
  std::filesystem::remove(file());
  std::filesystem::create_directories(file() / "in the way");
  EXPECT_FALSE(proof_->claimed("shop:old", 9));
  EXPECT_TRUE(proof_->is_watching());
  EXPECT_FALSE(proof_->touch({}));
  std::filesystem::remove_all(file());
  EXPECT_TRUE(proof_->touch({}));
  EXPECT_FALSE(proof_->is_watching());
}

TEST_F(ProofTest, AFindingThatCannotBeKeptLeavesNoOlderOne) {
  prove("public.t");
  prove("public.u");
  std::filesystem::create_directories(file().string() + ".part");  // in the way
  proof_->close(proof_->open(), {{"public.t", {.is_equal = false, .shape = kShape}}}, "0/20");
  EXPECT_TRUE(proof_->table("public.u")) << "still true, while nobody forgets it";
  EXPECT_FALSE(reopen().table("public.t"));
}

TEST_F(ProofTest, AComparisonThatWasNotFinishedProvesNothing) {
  proof_->close(proof_->open(), {}, "0/10");
  EXPECT_TRUE(proof_->standing().empty());
  EXPECT_FALSE(proof_->is_watching());
}

TEST_F(ProofTest, AnotherKeyThanBeforeMeansEveryRow) {
  prove("public.t");
  touch("public.t", "7");
  ASSERT_TRUE(proof_->touch({{"public.t", {.columns = {"other"}, .keys = {{"7"}}}}}));
  EXPECT_TRUE(proof_->table("public.t")->touched.is_all());
  EXPECT_TRUE(reopen().table("public.t")->touched.is_all());
}

TEST_F(ProofTest, TooManyTouchedKeysMeanEveryRowOfTheTableThatHasMost) {
  reopen(2000);
  prove("public.t");
  prove("public.other");
  touch_word("public.other", "a");
  for (int key = 0; key < 30; key++) touch_word("public.t", std::to_string(key));
  for (const bool is_reopened : {false, true}) {
    EXPECT_TRUE(proof_->table("public.t")->touched.is_all()) << is_reopened;
    EXPECT_EQ(proof_->table("public.other")->touched.keys()->size(), 1U) << is_reopened;
    reopen(2000);
  }
}

TEST_F(ProofTest, TheLastKeysAreKnownOfWhatIsNotProvenToo) {
  touch("public.t", "7");
  EXPECT_EQ(last(), (std::vector<TouchedRows::Key>{{"7"}}));
  for (std::size_t key = 0; key < 2 * Proof::kLastKeys; key++)
    touch("public.t", std::to_string(key));
  EXPECT_EQ(last().size(), Proof::kLastKeys);
  EXPECT_EQ(last().back(), TouchedRows::Key{std::to_string(2 * Proof::kLastKeys - 1)});
}

TEST_F(ProofTest, OfTheLastKeysOnlyThoseThatAreNotSettledAreTold) {
  touch("public.t", "7");
  const auto begun = proof_->open();
  touch("public.t", "8");
  proof_->close(begun, {{"public.t", equal(100)}}, "0/10");
  EXPECT_EQ(last(), (std::vector<TouchedRows::Key>{{"8"}}));
  touch_word("public.t", "of another key");
  EXPECT_EQ(last(), (std::vector<TouchedRows::Key>{{"of another key"}}));
}

TEST_F(ProofTest, OthersWhoAppliedInBetweenLeaveNothingProven) {
  ASSERT_TRUE(proof_->claimed("shop:old", 4));
  prove("public.t");
  ASSERT_TRUE(proof_->claimed("shop:old", 5));
  EXPECT_TRUE(reopen().table("public.t"));
  ASSERT_TRUE(proof_->claimed("shop:old", 7)) << "6 was another's";
  EXPECT_FALSE(proof_->table("public.t"));
  EXPECT_FALSE(reopen().table("public.t"));
}

TEST_F(ProofTest, AComparisonSaysNothingOfWhatWasForgottenMeanwhile) {
  ASSERT_TRUE(proof_->claimed("shop:old", 4));
  prove("public.other");
  const auto begun = proof_->open();
  ASSERT_TRUE(proof_->claimed("shop:old", 9));
  proof_->close(begun, {{"public.t", equal(100)}}, "0/10");
  EXPECT_TRUE(proof_->standing().empty());
}

TEST_F(ProofTest, AFileThatCannotBeReadProvesNothing) {
  prove("public.t");
  std::ofstream(file(), std::ios::trunc) << "not what was kept\n";
  EXPECT_TRUE(reopen().standing().empty());
}

TEST_F(ProofTest, TheActThatIsProvenIsRemembered) {
  EXPECT_EQ(proof_->epoch(), 0);
  proof_->set_epoch(3);
  EXPECT_EQ(reopen().epoch(), 3);
}

TEST(ShapeOf, IsTheSameFromBothSidesAndTellsOfANewTableOrType) {
  const auto table = both("integer");
  const ComparedTable turned{*table.passive, table.active};
  EXPECT_EQ(shape_of(table, SideName::kOld), shape_of(turned, SideName::kNew));
  auto made_anew = table;
  made_anew.active.oid = "16390";
  EXPECT_NE(shape_of(made_anew, SideName::kOld), shape_of(table, SideName::kOld));
  EXPECT_NE(shape_of(both("bigint"), SideName::kOld), shape_of(table, SideName::kOld));
}

}  // namespace
}  // namespace banyan::replication
