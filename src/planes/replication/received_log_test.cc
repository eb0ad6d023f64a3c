#include "planes/replication/received_log.h"

#include <gtest/gtest.h>

#include <fstream>

#include "planes/replication/log_reader.h"

namespace banyan::replication {
namespace {

namespace fs = std::filesystem;

template <class T>
void put(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift & 0xFF);
  }
}

std::string begin(std::uint64_t commit) {
  std::string out = "B";
  put(out, commit);
  put(out, std::uint64_t{0});
  put(out, std::uint32_t{7});
  return out;
}

std::string commit(std::uint64_t lsn) {
  std::string out = "C";
  out += '\0';
  put(out, lsn);
  put(out, lsn + 10);
  put(out, std::uint64_t{0});
  return out;
}

std::string relation(std::uint32_t id) {
  std::string out = "R";
  put(out, id);
  out.append("public\0t\0d\0\0", 11);
  return out;
}

struct Logged {
  fs::path directory =
      fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
  LogIdentity identity{.slot = "banyan_shop_old_1", .system_id = "42", .timeline = "1"};
  std::uint64_t segment_bytes = 2000;
  ReceivedLog log{segment_bytes};

  Logged() { fs::remove_all(directory); }
  ~Logged() { fs::remove_all(directory); }

  void open(std::uint64_t applied) {
    log.add_reader("shop");
    ASSERT_TRUE(log.recover(directory, identity, pg::Lsn(applied)));
  }
  void join() { ASSERT_TRUE(log.join(pg::Lsn(1))); }
  void data(const std::string& payload) {
    ASSERT_TRUE(log.append({.kind = RecordKind::kData, .lsn = pg::Lsn(1), .payload = payload}));
  }
  // Commits at `lsn`, complete 10 behind it.
  void transaction(std::uint64_t lsn, std::size_t bytes = 100) {
    data(begin(lsn));
    data("I" + std::string(bytes, 'x'));
    data(commit(lsn));
  }
  // The kinds of what is there, heads as h or, of a new connection, as H.
  std::string read() {
    LogReader reader(log, "shop");
    std::string kinds;
    while (true) {
      const auto entry = reader.next(0ms);
      if (!entry) return kinds + "!";
      if (!*entry) return kinds;
      const auto& record = (*entry)->record;
      const bool is_head = record.kind == RecordKind::kHead;
      kinds += is_head ? (decode_head(record)->is_join ? 'H' : 'h') : record.payload[0];
    }
  }
  void reopen(std::uint64_t applied) {
    log.close();
    open(applied);
  }
};

TEST(ReceivedLog, GivesWhatWasAppendedOnceItIsFlushed) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100);
  EXPECT_EQ(test.read(), "H");
  ASSERT_TRUE(test.log.flush());
  EXPECT_EQ(test.read(), "HBIC");
  EXPECT_EQ(test.log.end(), pg::Lsn(110));
}

TEST(ReceivedLog, CutsSegmentsBetweenTransactionsAndRepeatsTheRelations) {
  Logged test;
  test.open(5);
  test.join();
  test.data(relation(9));
  test.transaction(100, 3000);
  test.transaction(200);
  ASSERT_TRUE(test.log.flush());
  EXPECT_EQ(test.read(), "HRBIChRBIC");
}

TEST(ReceivedLog, GoesOnWithWhatADeadPredecessorLeft) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100, 3000);
  test.transaction(200);
  test.reopen(110);
  EXPECT_EQ(test.log.end(), pg::Lsn(210));
  test.join();
  test.transaction(300);
  ASSERT_TRUE(test.log.flush());
  EXPECT_EQ(test.read(), "HBIChBICHBIC");
}

TEST(ReceivedLog, ForgetsATransactionWhoseConnectionBroke) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100);
  test.data(begin(200));
  ASSERT_TRUE(test.log.flush());
  LogReader ahead(test.log, "shop");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*ahead.next(0ms)).has_value());
  test.join();
  EXPECT_EQ(test.read(), "HBICH");
  const auto next = ahead.next(0ms);
  ASSERT_FALSE(next) << "whoever has read of it begins anew";
  EXPECT_EQ(next.error().code(), Code::kUnavailable);
}

TEST(ReceivedLog, DropsATornEnd) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100);
  test.transaction(200);
  test.log.close();
  const auto path = test.log.path(1);
  fs::resize_file(path, fs::file_size(path) - 3);
  test.open(5);
  EXPECT_EQ(test.log.end(), pg::Lsn(110));
  EXPECT_EQ(test.read(), "HBIC");
}

TEST(ReceivedLog, DropsEverythingFromADamagedRecordOn) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100);
  test.transaction(200, 3000);
  test.transaction(300);
  test.log.close();
  std::fstream file(test.log.path(1), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(1500);
  file.put('y');
  file.close();
  test.open(5);
  EXPECT_EQ(test.log.end(), pg::Lsn(110));
  EXPECT_EQ(test.read(), "HBIC");
}

TEST(ReceivedLog, TellsWhoReadsThatARecordIsDamaged) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100, 1000);
  ASSERT_TRUE(test.log.flush());
  std::fstream file(test.log.path(1), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(800);
  file.put('y');
  file.close();
  EXPECT_EQ(test.read(), "HB!");
}

TEST(ReceivedLog, DropsWhatIsOfAnotherSlotOrOutOfReach) {
  for (const auto* change : {"slot", "timeline", "gap", "old"}) {
    Logged test;
    test.open(50);
    test.join();
    test.transaction(100);
    test.log.close();
    const std::string_view what(change);
    if (what == "slot") test.identity.slot = "another";
    if (what == "timeline") test.identity.timeline = "2";
    const std::uint64_t applied = what == "gap" ? 40 : what == "old" ? 500 : 60;
    test.open(applied);
    EXPECT_EQ(test.log.end(), pg::Lsn(applied)) << change;
    EXPECT_EQ(test.read(), "") << change;
  }
}

TEST(ReceivedLog, RemovesFromTheFrontWhatIsDurableAndNotKept) {
  Logged test;
  test.open(5);
  test.join();
  for (const std::uint64_t lsn : {100, 200, 300}) test.transaction(lsn, 3000);
  EXPECT_EQ(test.log.standing("shop").segments, 4);
  ASSERT_TRUE(test.log.trim("shop", pg::Lsn(210), 2));
  EXPECT_EQ(test.log.standing("shop").segments, 3);
  ASSERT_TRUE(test.log.trim("shop", pg::Lsn(210), 9));
  EXPECT_EQ(test.log.standing("shop").segments, 2);
  EXPECT_TRUE(!fs::exists(test.log.path(2)) && fs::exists(test.log.path(3)));
}

TEST(ReceivedLog, KeepsWhatItsSlowestReaderNeeds) {
  Logged test;
  test.open(5);
  test.log.add_reader("slow");
  test.join();
  for (const std::uint64_t lsn : {100, 200, 300}) test.transaction(lsn, 3000);
  ASSERT_TRUE(test.log.trim("shop", pg::Lsn(310), 9));
  EXPECT_EQ(test.log.standing("shop").segments, 4);
  EXPECT_EQ(test.log.durable(), pg::Lsn());
  EXPECT_EQ(test.log.front("shop"), 4U);
  EXPECT_EQ(test.log.front("slow"), 1U);
  ASSERT_TRUE(test.log.trim("slow", pg::Lsn(110), 9));
  EXPECT_EQ(test.log.durable(), pg::Lsn(110));
  EXPECT_TRUE(!fs::exists(test.log.path(1)) && fs::exists(test.log.path(2)));
  EXPECT_FALSE(test.log.begins_before(pg::Lsn(100)));
  test.log.remove_reader("slow");
  ASSERT_TRUE(test.log.trim("shop", pg::Lsn(310), 9));
  EXPECT_EQ(test.log.standing("shop").segments, 1);
}

TEST(ReceivedLog, WhoeverReadsBeginsAnewOnceItWasClosed) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100);
  ASSERT_TRUE(test.log.flush());
  LogReader before(test.log, "shop");
  ASSERT_TRUE((*before.next(0ms)).has_value());
  test.reopen(5);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*before.next(0ms)).has_value());
  const auto next = before.next(0ms);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code(), Code::kUnavailable);
}

TEST(ReceivedLog, VouchesForWholeTransactionsOnly) {
  Logged test;
  test.open(5);
  test.join();
  test.transaction(100);
  test.data(begin(200));
  EXPECT_EQ(*test.log.sync(), pg::Lsn(110));
}

}  // namespace
}  // namespace banyan::replication
