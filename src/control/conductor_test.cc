#include "control/conductor.h"

#include <gtest/gtest.h>

#include <random>

namespace banyan::control {
namespace {

using migration::Act;
using migration::Attempt;
using migration::Door;
using migration::Observation;
using migration::Receipts;
using nlohmann::json;

struct Crash {};  // the conductor's process dies here

// A gateway and two databases in memory. Each perform may fail before or after its effect, or the
// conductor may die there, all from one seed.
class ModelWorld final : public migration::World {
 public:
  explicit ModelWorld(unsigned seed) : random_(seed) {}

  Result<Observation> observe(const Attempt&, const Receipts& receipts) override {
    if (chance(5)) return failure(Code::kUnavailable, "not seen");
    Observation s = seen;
    migration::see_receipts(receipts, s);
    s.any_closed = seen.door != Door::kOpen;
    s.unseen = chance(5);
    s.drained = seen.door != Door::kOpen && !chance(30);
    return s;
  }

  Result<json> perform(const Attempt&, Act act) override {
    maybe_die();
    if (chance(4)) return failure(Code::kUnavailable, "lost before it was done");
    if (act == Act::kUnfence && seen.handed_over) return failure(Code::kConflict, "handed over");
    if (spent_ && (act == Act::kFence || act == Act::kHandOver))
      return failure(Code::kConflict, "the epoch is spent");
    apply(act);
    invariant();
    maybe_die();
    if (chance(4)) return failure(Code::kTimeout, "done, but the answer was lost");
    return json::object();
  }

  void invariant() const {
    const bool old_serves = seen.door == Door::kOpen && !seen.routed_to;
    const bool new_serves = seen.door == Door::kOpen && seen.routed_to;
    EXPECT_FALSE(old_serves && (seen.fenced || seen.handed_over));
    EXPECT_FALSE(new_serves && !seen.opened);
    EXPECT_FALSE(seen.opened && !seen.fenced);
  }

  Observation seen;
  int crash_percent = 6;

 private:
  void maybe_die() {
    if (chance(crash_percent)) throw Crash{};  // NOLINT: how a test kills the conductor
  }
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  void apply(Act act) {
    if (act == Act::kHold) seen.door = Door::kRevocable;
    if (act == Act::kCommitHold) seen.door = Door::kCommitted;
    if (act == Act::kFence && !spent_) seen.fenced = true;
    if (act == Act::kHandOver && !spent_) seen.handed_over = true;
    if (act == Act::kOpenTarget) seen.opened = true;
    if (act == Act::kFlipRoutes) seen.routed_to = true;
    if (act == Act::kRelease) seen.door = Door::kOpen;
    if (act == Act::kUnfence && !seen.handed_over) {
      seen.fenced = false;
      spent_ = true;
    }
  }

  std::mt19937 random_;
  bool spent_ = false;  // the attempt's epoch: no fence and no hand-over any more
};

ConductorLimits fast() {
  return {.to_decision = 200ms, .retry_pause = 0ms, .wait_pause = 0ms};
}

// Runs an attempt, restarting the conductor each time it dies; the conclusion of the last one.
Conclusion run_to_the_end(ModelWorld& world, store::Journal& journal, const Clock& clock) {
  const Attempt attempt{.migration = "lift", .act_id = "switch-1", .epoch = 7};
  bool first = true;
  while (true) {
    Conductor conductor(world, journal, clock, fast());
    try {
      if (std::exchange(first, false)) return *conductor.run(attempt);
      const auto resumed = conductor.resume("lift");
      if (resumed && *resumed) return **resumed;
      return {};
    } catch (const Crash&) {
      world.crash_percent = world.crash_percent > 0 ? world.crash_percent - 1 : 0;
    }
  }
}

TEST(Conductor, EveryRunEndsWithOneOpenSideWhateverDies) {
  const SystemClock clock;
  int moved = 0;
  for (unsigned seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(seed);
    auto journal = store::Journal::open(":memory:", clock);
    ASSERT_TRUE(journal);
    ModelWorld world(seed);
    const Conclusion end = run_to_the_end(world, **journal, clock);
    EXPECT_EQ(world.seen.door, Door::kOpen);
    EXPECT_EQ(world.seen.routed_to, world.seen.handed_over);
    EXPECT_EQ(world.seen.fenced, world.seen.handed_over);
    moved += end.moved ? 1 : 0;
  }
  EXPECT_GT(moved, 0);
  EXPECT_LT(moved, 400);
}

TEST(Conductor, AFailureBeforeTheDecisionSaysWhyAndLeavesTheOldSide) {
  const SystemClock clock;
  auto journal = store::Journal::open(":memory:", clock);
  struct NoFence final : migration::World {
    Observation seen;
    Result<Observation> observe(const Attempt&, const Receipts& receipts) override {
      seen.prepared = receipts.contains(Act::kPrepare);
      seen.drained = true;
      seen.any_closed = seen.door != Door::kOpen;
      return seen;
    }
    Result<json> perform(const Attempt&, Act act) override {
      if (act == Act::kHold) seen.door = Door::kRevocable;
      if (act == Act::kCommitHold) seen.door = Door::kCommitted;
      if (act == Act::kRelease) seen.door = Door::kOpen;
      if (act == Act::kFence) return failure(Code::kTimeout, "lock not available");
      return json::object();
    }
  } world;
  Conductor conductor(world, **journal, clock, fast());
  const auto end = conductor.run({.migration = "lift", .act_id = "switch-1", .epoch = 1});
  ASSERT_TRUE(end);
  EXPECT_FALSE(end->moved);
  EXPECT_EQ(end->why_not, "fence: lock not available");
  EXPECT_EQ(world.seen.door, Door::kOpen);
}

}  // namespace
}  // namespace banyan::control
