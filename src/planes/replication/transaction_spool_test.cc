#include "planes/replication/transaction_spool.h"

#include <gtest/gtest.h>

#include <fstream>

namespace banyan::replication {
namespace {

namespace fs = std::filesystem;

struct Spooled {
  fs::path directory =
      fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
  TransactionSpool spool = *TransactionSpool::open(directory);
  ~Spooled() { fs::remove_all(directory); }

  // What is kept of a transaction; what was undone in brackets.
  Result<std::string> replay(std::uint32_t xid) {
    std::string all;
    TRY_VOID(spool.replay(xid, [&](std::string_view payload, bool is_undone) -> Result<void> {
      all += is_undone ? "(" + std::string(payload) + ")" : std::string(payload);
      return {};
    }));
    return all;
  }
};

TEST(TransactionSpool, GivesEachTransactionItsOwnChangesInOrder) {
  Spooled test;
  for (const auto* part : {"a", "b", "c"}) {
    ASSERT_TRUE(test.spool.append(7, 7, part));
    ASSERT_TRUE(test.spool.append(8, 8, "x"));
  }
  EXPECT_EQ(test.replay(7).value(), "abc");
  EXPECT_EQ(test.replay(8).value(), "xxx");
  EXPECT_EQ(test.replay(9).value(), "");
}

TEST(TransactionSpool, MarksWhatASubtransactionUndid) {
  Spooled test;
  ASSERT_TRUE(test.spool.append(7, 7, "a"));
  ASSERT_TRUE(test.spool.append(7, 9, "b"));
  ASSERT_TRUE(test.spool.append(7, 10, "c"));
  test.spool.abort(7, 9);
  EXPECT_EQ(test.replay(7).value(), "a(b)c");
}

TEST(TransactionSpool, LeavesNothingOfAnAbortedOrReplayedTransaction) {
  Spooled test;
  ASSERT_TRUE(test.spool.append(7, 7, std::string(200'000, 'a')));
  ASSERT_TRUE(test.spool.append(8, 8, std::string(200'000, 'b')));
  EXPECT_GT(test.spool.bytes(), 400'000U);
  test.spool.abort(7, 7);
  EXPECT_EQ(test.replay(8)->size(), 200'000U);
  EXPECT_EQ(test.spool.bytes(), 0U);
  EXPECT_TRUE(fs::is_empty(test.directory));
}

TEST(TransactionSpool, NoticesADamagedRecord) {
  Spooled test;
  ASSERT_TRUE(test.spool.append(7, 7, std::string(200'000, 'a')));
  std::fstream file(test.directory / "7.xid", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(1000);
  file.put('b');
  file.close();
  const auto replayed = test.replay(7);
  ASSERT_FALSE(replayed);
  EXPECT_EQ(replayed.error().code(), Code::kCorruption);
}

TEST(TransactionSpool, RemovesWhatADeadPredecessorLeft) {
  Spooled test;
  std::ofstream(test.directory / "5.xid") << "old";
  const auto again = TransactionSpool::open(test.directory);
  EXPECT_TRUE(fs::is_empty(test.directory));
}

}  // namespace
}  // namespace banyan::replication
