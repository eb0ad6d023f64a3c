#include "planes/replication/open_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace banyan::replication {
namespace {

TEST(OpenBatches, ABatchThatSharesNothingWaitsForNobody) {
  OpenBatches open;
  EXPECT_EQ(open.admit({.writes = {1, 2}, .reads = {}}).number, 1);
  const auto second = open.admit({.writes = {3}, .reads = {}});
  EXPECT_EQ(second.number, 2);
  EXPECT_EQ(second.after, 0);
  EXPECT_TRUE(second.shared.empty());
}

TEST(OpenBatches, ABatchWaitsForTheLastOneItSharesARowWith) {
  OpenBatches open;
  open.admit({.writes = {1, 1}, .reads = {}});
  open.admit({.writes = {1}, .reads = {}});
  open.admit({.writes = {2}, .reads = {}});
  const auto fourth = open.admit({.writes = {1, 5}, .reads = {}});
  EXPECT_EQ(fourth.after, 2);
  EXPECT_EQ(fourth.shared, Touches{1});
}

TEST(OpenBatches, ReadersWaitForWritersAndWritersForReadersOnly) {
  OpenBatches open;
  open.admit({.writes = {}, .reads = {7}});
  EXPECT_EQ(open.admit({.writes = {}, .reads = {7}}).after, 0);
  EXPECT_EQ(open.admit({.writes = {7}, .reads = {}}).after, 2);
  EXPECT_EQ(open.admit({.writes = {}, .reads = {7}}).after, 3);
}

TEST(OpenBatches, WhatIsCommittedIsWaitedForNoMore) {
  OpenBatches open;
  open.admit({.writes = {1}, .reads = {}});
  open.admit({.writes = {2}, .reads = {1}});
  open.commit_first();
  EXPECT_EQ(open.admit({.writes = {}, .reads = {1}}).after, 0);
  EXPECT_EQ(open.admit({.writes = {1}, .reads = {}}).after, 3);
  EXPECT_EQ(open.size(), 3U);
}

// A small database with row locks. A batch appends its number to every row it writes, so a row that
// was written out of order, or from an older version, shows it for ever.
class Simulation {
 public:
  using Keys = std::vector<Touch>;
  explicit Simulation(unsigned seed) : chance_(seed) {
    for (int batch = 0; batch < 40; ++batch) {
      std::set<Touch> keys;
      for (int row = below(5); row >= 0; --row) keys.insert(1 + static_cast<Touch>(below(8)));
      plan_.emplace_back(keys.begin(), keys.end());
    }
  }

  void run() {
    while (committed_ < plan_.size()) {
      step();
      if (below(40) == 0) crash();
      ASSERT_EQ(rows_, serially(committed_)) << "not a prefix of the source's commits";
    }
  }

 private:
  enum class At : std::uint8_t { kGiven, kFree, kAll };
  struct Job {
    OpenBatches::Order order;
    std::size_t batch = 0;
    At at = At::kGiven;
    std::map<Touch, std::string> written{};
  };
  using Rows = std::map<Touch, std::string>;

  int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(chance_); }

  Rows serially(std::size_t batches) const {
    Rows rows;
    for (std::size_t batch = 0; batch < batches; ++batch) {
      for (const Touch key : plan_[batch]) rows[key] += std::to_string(batch) + ",";
    }
    return rows;
  }

  // Any lane may be the next to do something.
  void step() {
    const std::size_t next = committed_ + jobs_.size();
    if (jobs_.size() < 4 && next < plan_.size() && (jobs_.empty() || below(2) == 0)) {
      jobs_.push_back({.order = open_.admit({.writes = plan_[next], .reads = {}}), .batch = next});
      return;
    }
    auto& job = jobs_[static_cast<std::size_t>(below(static_cast<int>(jobs_.size())))];
    const auto done = static_cast<std::int64_t>(committed_ - base_);
    if (job.at == At::kGiven) {
      write(job, false);
      job.at = At::kFree;
    } else if (job.at == At::kFree && done >= job.order.after) {
      write(job, true);
      job.at = At::kAll;
    } else if (job.at == At::kAll && done == job.order.number - 1) {
      commit(job);
    }
  }

  void write(Job& job, bool shared) {
    for (const Touch key : plan_[job.batch]) {
      if (job.order.shared.contains(key) != shared) continue;
      for (const auto& other : jobs_) {
        ASSERT_TRUE(&other == &job || !other.written.contains(key)) << "two batches hold a row";
      }
      const auto now = rows_.find(key);
      job.written[key] = (now == rows_.end() ? "" : now->second) + std::to_string(job.batch) + ",";
    }
  }

  void commit(const Job& job) {
    ASSERT_EQ(job.batch, committed_);
    for (const auto& [key, value] : job.written) rows_[key] = value;
    ++committed_;
    open_.commit_first();
    jobs_.erase(jobs_.begin());
  }

  // What is not committed is gone, and is read again from the source.
  void crash() {
    jobs_.clear();
    open_ = OpenBatches();
    base_ = committed_;
  }

  std::mt19937 chance_;
  std::vector<Keys> plan_;
  OpenBatches open_;
  std::deque<Job> jobs_;
  Rows rows_;
  std::size_t committed_ = 0;
  std::size_t base_ = 0;  // committed before the last crash
};

TEST(OpenBatches, AnyOrderOfWorkAndAnyCrashGiveWhatOneAfterTheOtherGives) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Simulation(seed).run();
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace banyan::replication
