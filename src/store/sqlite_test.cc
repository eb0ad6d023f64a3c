#include "store/sqlite.h"

#include <gtest/gtest.h>

namespace banyan::store {
namespace {

constexpr auto kSchema = "CREATE TABLE IF NOT EXISTS item(name TEXT PRIMARY KEY, n INTEGER)";

std::int64_t count(Database& db) {
  auto rows = db.prepare("SELECT count(*) FROM item");
  EXPECT_TRUE(rows->step().value());
  return rows->integer(0);
}

TEST(Sqlite, KeepsBytesAndNulls) {
  auto db = Database::open(":memory:", kSchema);
  ASSERT_TRUE(db);
  const std::string name("a\0\xff", 3);
  ASSERT_TRUE(db->run("INSERT INTO item VALUES (?, ?)", name, nullptr));

  auto rows = db->prepare("SELECT name, n FROM item WHERE name = ?");
  ASSERT_TRUE(rows->bind(name));
  ASSERT_TRUE(rows->step().value());
  EXPECT_EQ(rows->text(0), name);
  EXPECT_TRUE(rows->is_null(1));
  EXPECT_FALSE(rows->step().value());
}

TEST(Sqlite, ViolatedConstraintIsAConflict) {
  auto db = Database::open(":memory:", kSchema);
  ASSERT_TRUE(db->run("INSERT INTO item VALUES (?, ?)", "a", 1));
  const auto again = db->run("INSERT INTO item VALUES (?, ?)", "a", 2);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Code::kConflict);
}

TEST(Sqlite, FailedTransactionLeavesNothing) {
  auto db = Database::open(":memory:", kSchema);
  const auto done = db->transaction([&]() -> Result<void> {
    TRY_VOID(db->run("INSERT INTO item VALUES (?, ?)", "a", 1));
    return failure(Code::kCancelled, "changed our mind");
  });
  EXPECT_FALSE(done);
  EXPECT_EQ(count(*db), 0);
}

TEST(Sqlite, CommittedTransactionStays) {
  auto db = Database::open(":memory:", kSchema);
  ASSERT_TRUE(db->transaction(
      [&]() -> Result<void> { return db->run("INSERT INTO item VALUES (?, ?)", "a", 1); }));
  EXPECT_EQ(count(*db), 1);
}

TEST(Sqlite, MissingDirectoryIsReported) {
  const auto db = Database::open("/nonexistent/banyan/x.db");
  ASSERT_FALSE(db);
  EXPECT_NE(db.error().message().find("/nonexistent/banyan/x.db"), std::string::npos);
}

}  // namespace
}  // namespace banyan::store
