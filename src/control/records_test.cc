#include "control/records.h"

#include <gtest/gtest.h>

#include <thread>

namespace banyan::control {
namespace {

TEST(Records, KeepTwoChangesAtOnce) {
  const auto store = store::StateStore::open(":memory:");
  ASSERT_TRUE(store.has_value());
  Records records(**store);
  constexpr std::int64_t kChanges = 300;
  const auto verify = [&] {
    for (std::int64_t n = 0; n < kChanges; n++)
      (void)records.change("lift", [](MigrationRecord& record) { record.verified_at_ms++; });
  };
  std::thread other(verify);
  verify();
  other.join();
  EXPECT_EQ(records.migration("lift")->verified_at_ms, 2 * kChanges);
}

TEST(Records, GiveWhatTheyKeep) {
  const auto store = store::StateStore::open(":memory:");
  ASSERT_TRUE(store.has_value());
  Records records(**store);
  const auto changed =
      records.change("lift", [](MigrationRecord& record) { record.created = true; });
  ASSERT_TRUE(changed.has_value());
  EXPECT_TRUE(changed->created);
  EXPECT_TRUE(records.migration("lift")->is_under_way());
  EXPECT_FALSE(records.migration("another")->created);
}

}  // namespace
}  // namespace banyan::control
