#include "store/journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace banyan::store {
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "journalXXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

JournalEntry entry(std::string act_id, std::string step, EntryKind kind) {
  JournalEntry entry;
  entry.migration = "lift";
  entry.act_id = std::move(act_id);
  entry.step = std::move(step);
  entry.kind = kind;
  return entry;
}

TEST(Journal, ReadsBackWhatWasAppendedInOrder) {
  SimClock clock;
  auto journal = *Journal::open(":memory:", clock);
  auto first = entry("switch-1", "fence", EntryKind::kIntent);
  first.detail = {{"epoch", 17}};
  EXPECT_EQ(*journal->append(first), 1);
  clock.advance(5ms);
  EXPECT_EQ(*journal->append(entry("switch-1", "fence", EntryKind::kOutcome)), 2);

  const auto all = *journal->read("lift");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].detail["epoch"], 17);
  EXPECT_EQ(all[1].kind, EntryKind::kOutcome);
  EXPECT_EQ(all[1].time - all[0].time, Duration(5ms));
  EXPECT_EQ(journal->read("lift", 1)->size(), 1U);
  EXPECT_EQ(journal->read("other")->size(), 0U);
  EXPECT_EQ(journal->read("")->size(), 2U);
  EXPECT_EQ(journal->read_act("switch-1")->size(), 2U);
}

TEST(Journal, AnActIsOpenUntilItsOutcome) {
  const SystemClock clock;
  auto journal = *Journal::open(":memory:", clock);
  EXPECT_FALSE(journal->open_act("lift")->has_value());
  ASSERT_TRUE(journal->append(entry("switch-1", "act", EntryKind::kIntent)));
  ASSERT_TRUE(journal->append(entry("switch-1", "fence", EntryKind::kOutcome)));
  EXPECT_EQ((*journal->open_act("lift"))->act_id, "switch-1");
  EXPECT_FALSE(journal->open_act("other")->has_value());
  ASSERT_TRUE(journal->append(entry("switch-1", "act", EntryKind::kOutcome)));
  EXPECT_FALSE(journal->open_act("lift")->has_value());
}

TEST(Journal, SurvivesTheDeathOfTheWriter) {
  const TemporaryFolder folder;
  const std::string path = folder.file("state.db");
  const SystemClock clock;
  const pid_t child = fork();
  if (child == 0) {
    auto journal = Journal::open(path, clock);
    const bool done = journal && (*journal)->append(entry("a", "act", EntryKind::kIntent));
    kill(getpid(), done ? SIGKILL : SIGTERM);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);

  auto journal = *Journal::open(path, clock);
  EXPECT_EQ((*journal->open_act("lift"))->act_id, "a");
}

TEST(Journal, KeepsInvalidUtf8FromFailingAnAppend) {
  const SystemClock clock;
  auto journal = *Journal::open(":memory:", clock);
  auto odd = entry("a", "act", EntryKind::kReceipt);
  odd.detail = {{"file", "caf\xe9"}};
  EXPECT_TRUE(journal->append(odd));
  EXPECT_EQ(journal->read("lift")->size(), 1U);
}

TEST(StateStore, GetsWhatWasPut) {
  auto store = *StateStore::open(":memory:");
  EXPECT_FALSE(store->get("epoch")->has_value());
  ASSERT_TRUE(store->put("epoch", 17));
  ASSERT_TRUE(store->put("epoch", 18));
  EXPECT_EQ((*store->get("epoch"))->value, 18);
  EXPECT_EQ((*store->get("epoch"))->version, 2);
  ASSERT_TRUE(store->remove("epoch"));
  ASSERT_TRUE(store->remove("epoch"));
  EXPECT_FALSE(store->get("epoch")->has_value());
}

TEST(StateStore, SwapsOnlyWhatNobodyChanged) {
  auto store = *StateStore::open(":memory:");
  EXPECT_EQ(*store->compare_and_swap("lift", 0, "DRAFT"), 1);
  EXPECT_EQ(store->compare_and_swap("lift", 0, "DRAFT").error().code(), Code::kConflict);
  EXPECT_EQ(*store->compare_and_swap("lift", 1, "READY"), 2);
  EXPECT_EQ(store->compare_and_swap("lift", 1, "DRAFT").error().code(), Code::kConflict);
  EXPECT_EQ((*store->get("lift"))->value, "READY");
}

TEST(StateStore, ListsKeysOfAPrefixOnly) {
  auto store = *StateStore::open(":memory:");
  for (const char* key : {"migration/b", "migration/a", "epoch", "migration_x"}) {
    ASSERT_TRUE(store->put(key, 1));
  }
  EXPECT_EQ(*store->keys("migration/"), (std::vector<std::string>{"migration/a", "migration/b"}));
}

TEST(StateStore, SharesAFileWithTheJournal) {
  const TemporaryFolder folder;
  const SystemClock clock;
  auto journal = *Journal::open(folder.file("state.db"), clock);
  auto store = *StateStore::open(folder.file("state.db"));
  EXPECT_TRUE(store->put("a", 1));
  EXPECT_TRUE(journal->append(entry("a", "act", EntryKind::kIntent)));
}

}  // namespace
}  // namespace banyan::store
