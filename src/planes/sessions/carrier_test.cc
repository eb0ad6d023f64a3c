#include "planes/sessions/carrier.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

namespace banyan::sessions {
namespace {

class MemorySessions final : public SessionStore {
 public:
  struct Entry {
    Value value;
    std::int64_t left_ms = 60'000;
    bool readable = true;
  };
  std::map<std::string, Entry> entries;
  int writes = 0;
  bool fail_writes = false;

  Result<std::vector<Fingerprint>> survey() override {
    std::vector<Fingerprint> out;
    for (const auto& [key, entry] : entries)
      out.push_back({.key = key, .digest = *write_json(entry.value), .left_ms = entry.left_ms});
    return out;
  }
  Result<std::vector<Session>> read(std::span<const std::string> keys) override {
    std::vector<Session> out;
    for (const auto& key : keys) {
      const auto found = entries.find(key);
      if (found == entries.end()) continue;
      const Entry& entry = found->second;
      Session session{
          .key = key, .digest = *write_json(entry.value), .left_ms = entry.left_ms, .value = {}};
      if (entry.readable) session.value = entry.value;
      out.push_back(session);
    }
    return out;
  }
  Result<std::vector<std::string>> write(std::span<const Session> sessions) override {
    if (fail_writes) return failure(Code::kUnavailable, "full");
    std::vector<std::string> digests;
    for (const Session& session : sessions) {
      entries[session.key] = {.value = *session.value, .left_ms = session.left_ms};
      digests.push_back(*write_json(*session.value));
      ++writes;
    }
    return digests;
  }
  Result<void> erase(std::span<const std::string> keys) override {
    for (const auto& key : keys) entries.erase(key);
    return {};
  }
};

class CarrierTest : public testing::Test {
 protected:
  MemorySessions from;
  MemorySessions to;
  Carrier carrier{from, to, Unreadable::kErase};
};

TEST_F(CarrierTest, QuickPassesWriteOnlyWhatChanged) {
  for (int i = 0; i < 10; ++i)
    from.entries[fmt::format("session{:04}", i)] = {.value = make_integer(i)};
  ASSERT_EQ(carrier.pass(Thorough::kNo)->changed, 10U);
  from.entries["session0003"].value = make_integer(77);
  from.entries.erase("session0004");
  const auto second = carrier.pass(Thorough::kNo);
  EXPECT_EQ(second->changed, 2U);
  EXPECT_EQ(to.writes, 11);
  EXPECT_FALSE(to.entries.contains("session0004"));
  EXPECT_EQ(carrier.compare()->different, 0U);
}

TEST_F(CarrierTest, AThoroughPassRepairsTheDestination) {
  for (int i = 0; i < 4; ++i)
    from.entries[fmt::format("session{:04}", i)] = {.value = make_integer(i)};
  ASSERT_TRUE(carrier.pass(Thorough::kNo));
  to.entries.erase("session0000");
  to.entries["session0001"].value = make_text("touched");
  to.entries["session0002"].left_ms = 1'000'000;
  to.entries["stranger"] = {.value = make_integer(1)};
  EXPECT_EQ(carrier.compare()->different, 3U);
  EXPECT_EQ(carrier.pass(Thorough::kYes)->changed, 4U);
  EXPECT_EQ(carrier.compare()->different, 0U);
  EXPECT_EQ(to.entries["session0002"].left_ms, 60'000);
  EXPECT_FALSE(to.entries.contains("stranger"));
}

TEST_F(CarrierTest, AnUnreadableSessionIsErasedFromACacheAndCounted) {
  from.entries["session0000"] = {.value = make_integer(1)};
  ASSERT_TRUE(carrier.pass(Thorough::kNo));
  from.entries["session0000"] = {.value = make_integer(2), .readable = false};
  EXPECT_EQ(carrier.pass(Thorough::kNo)->unreadable, 1U);
  EXPECT_TRUE(to.entries.empty());
  EXPECT_EQ(carrier.pass(Thorough::kYes)->changed, 0U);
}

TEST_F(CarrierTest, AFailedPassIsMadeUpForByTheNext) {
  from.entries["session0000"] = {.value = make_integer(1)};
  to.fail_writes = true;
  EXPECT_FALSE(carrier.pass(Thorough::kNo));
  to.fail_writes = false;
  EXPECT_EQ(carrier.pass(Thorough::kNo)->changed, 1U);
  EXPECT_EQ(carrier.compare()->different, 0U);
}

TEST_F(CarrierTest, MoreSessionsThanABatchAreAllCarried) {
  for (int i = 0; i < 5000; ++i)
    from.entries[fmt::format("session{:05}", i)] = {.value = make_integer(i)};
  ASSERT_EQ(carrier.pass(Thorough::kYes)->changed, 5000U);
  EXPECT_EQ(to.entries.size(), 5000U);
}

}  // namespace
}  // namespace banyan::sessions
