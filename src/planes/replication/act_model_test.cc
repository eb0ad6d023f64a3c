// Explores the hand-over protocol exhaustively: two coordinators that run any verbs with any epochs
// in any interleaving, each able to vanish at every step (a crash, or a lost reply: the verb's
// remaining steps may still happen or not), while the barrier travels at its own pace. Reads of the
// two rows are separate steps, so decisions are made on stale knowledge, as with real sessions.

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <set>
#include <tuple>

#include "planes/replication/act_rules.h"

namespace banyan::replication {
namespace {

constexpr int kEpochs = 3;
constexpr int kCoordinators = 2;
constexpr std::size_t kStatesMax = 20'000'000;

enum class Verb : std::uint8_t { kNone, kFence, kHandover, kOpen, kAbort };

// A verb under way: what it has read so far.
struct Call {
  Verb verb = Verb::kNone;
  int epoch = 0;
  int step = 0;
  ArbiterRows seen;
};

struct World {
  ArbiterRows rows;
  std::array<int, 2> barrier_written{};  // per side: the epoch of its last fence
  std::array<int, 2> barrier_arrived{};  // per side: the last epoch that came from the other one
  bool is_complete =
      false;  // the closed side has every write: no application wrote since the barrier
  std::array<Call, kCoordinators> calls;
};

int index(SideName side) {
  return side == SideName::kOld ? 0 : 1;
}
auto key(const ArbiterRow& row) {
  return std::tuple(row.state, row.epoch.value());
}
auto key(const ArbiterRows& rows) {
  return std::tuple(key(rows.old_side), key(rows.new_side));
}
auto key(const Call& call) {
  return std::tuple(call.verb, call.epoch, call.step, key(call.seen));
}
auto key(const World& world) {
  return std::tuple(key(world.rows), world.barrier_written, world.barrier_arrived,
                    world.is_complete, key(world.calls[0]), key(world.calls[1]));
}
bool operator<(const World& left, const World& right) {
  return key(left) < key(right);
}

// Sets `side`'s row to `after` if it is still what the call has seen: the guarded update.
bool exchange(World& world, SideName side, const ArbiterRow& before, const ArbiterRow& after) {
  if (world.rows.of(side) != before) return false;
  world.rows.of(side) = after;
  if (after.state == RowState::kRunning) world.is_complete = false;
  return true;
}

// What a verb does once it has read both rows; true when it had an effect.
struct Performed {
  bool opened_incomplete = false;
};

void fence(World& world, const Call& call, SideName active) {
  const auto& before = call.seen.of(active);
  const auto after = after_fence(before, Epoch(call.epoch));
  if (!after || *after == before) return;
  if (exchange(world, active, before, *after)) world.barrier_written[index(active)] = call.epoch;
}

void handover(World& world, const Call& call, const Standing& now) {
  if (now.act != ActState::kFenced) return;
  const auto& before = call.seen.of(now.active);
  const auto after = after_handover(before, Epoch(call.epoch));
  const bool arrived = world.barrier_arrived[index(other_side(now.active))] == call.epoch;
  if (after && arrived) exchange(world, now.active, before, *after);
}

void open(World& world, const Call& call, SideName side, Performed& performed) {
  const auto& before = call.seen.of(side);
  const auto after = after_open(before, call.seen.of(other_side(side)), Epoch(call.epoch));
  if (!after || *after == before) return;
  const bool complete = world.is_complete;
  if (exchange(world, side, before, *after)) performed.opened_incomplete = !complete;
}

void abort(World& world, const Call& call) {
  for (const auto side : {SideName::kOld, SideName::kNew}) {
    const auto& before = call.seen.of(side);
    if (before == ArbiterRow{RowState::kHandedOver, Epoch(call.epoch)}) return;
    const auto after = after_abort(before, Epoch(call.epoch));
    if (after && *after != before) {
      exchange(world, side, before, *after);
      return;
    }
  }
}

Performed perform(World& world, Call& call) {
  Performed performed;
  const auto now = standing(call.seen);
  if (call.verb == Verb::kAbort) abort(world, call);
  if (now && call.verb == Verb::kFence) fence(world, call, now->active);
  if (now && call.verb == Verb::kHandover) handover(world, call, *now);
  if (now && call.verb == Verb::kOpen) open(world, call, now->active, performed);
  call = {};
  return performed;
}

// The next step of one coordinator's call: read one row, read the other, act.
Performed take_step(World& world, int coordinator) {
  auto& call = world.calls[static_cast<std::size_t>(coordinator)];
  if (call.step == 0) call.seen.old_side = world.rows.old_side;
  if (call.step == 1) call.seen.new_side = world.rows.new_side;
  if (call.step == 2) return perform(world, call);
  call.step++;
  return {};
}

void check(const World& world, const Performed& performed) {
  const bool both_run = world.rows.old_side.state == RowState::kRunning &&
                        world.rows.new_side.state == RowState::kRunning;
  ASSERT_FALSE(both_run) << "both sides may be written";
  ASSERT_TRUE(standing(world.rows)) << "the rows contradict one another";
  ASSERT_FALSE(performed.opened_incomplete) << "a side opened without every write of the other";
}

class Explorer {
 public:
  void visit(const World& world, const Performed& performed = {}) {
    check(world, performed);
    if (seen_.insert(world).second) frontier_.push_back(world);
  }

  void explore() {
    visit(World{});
    while (!frontier_.empty() && seen_.size() < kStatesMax && !testing::Test::HasFatalFailure()) {
      const World world = frontier_.front();
      frontier_.pop_front();
      for (int coordinator = 0; coordinator < kCoordinators; coordinator++) {
        move_coordinator(world, coordinator);
      }
      deliver_barriers(world);
    }
  }

  const std::set<World>& seen() const { return seen_; }

 private:
  void move_coordinator(const World& world, int coordinator) {
    const auto at = static_cast<std::size_t>(coordinator);
    if (world.calls[at].verb != Verb::kNone) {
      World stepped = world;
      const auto performed = take_step(stepped, coordinator);
      visit(stepped, performed);
      World vanished = world;
      vanished.calls[at] = {};
      return visit(vanished);
    }
    for (const auto verb : {Verb::kFence, Verb::kHandover, Verb::kOpen, Verb::kAbort}) {
      for (int epoch = 1; epoch <= kEpochs; epoch++) {
        World begun = world;
        begun.calls[at] = {verb, epoch, 0, {{RowState::kPassive, Epoch(0)}, {}}};
        visit(begun);
      }
    }
  }

  void deliver_barriers(const World& world) {
    for (const auto from : {SideName::kOld, SideName::kNew}) {
      const int epoch = world.barrier_written[static_cast<std::size_t>(index(from))];
      const auto to = static_cast<std::size_t>(index(other_side(from)));
      if (epoch == 0 || world.barrier_arrived[to] == epoch) continue;
      World delivered = world;
      delivered.barrier_arrived[to] = epoch;
      const auto& row = world.rows.of(from);
      if (row == ArbiterRow{RowState::kFenced, Epoch(epoch)}) delivered.is_complete = true;
      visit(delivered);
    }
  }

  std::set<World> seen_;
  std::deque<World> frontier_;
};

// The takeover rule of a lone coordinator: abort what is fenced, open what is handed over.
ArbiterRows taken_over(ArbiterRows rows) {
  World world;
  world.rows = rows;
  world.is_complete = true;
  for (int step = 0; step < 2; step++) {
    const auto now = standing(world.rows);
    if (!now || now->act == ActState::kRunning || now->act == ActState::kOpen) break;
    const Call call{now->act == ActState::kFenced ? Verb::kAbort : Verb::kOpen,
                    static_cast<int>(now->epoch.value()), 2, world.rows};
    world.calls[0] = call;
    perform(world, world.calls[0]);
  }
  return world.rows;
}

TEST(ActModel, NoInterleavingOpensBothSidesOrLosesAWrite) {
  Explorer explorer;
  explorer.explore();
  EXPECT_LT(explorer.seen().size(), kStatesMax) << "the exploration did not finish";
  EXPECT_GT(explorer.seen().size(), 10'000U);
  RecordProperty("states", static_cast<int>(explorer.seen().size()));
}

TEST(ActModel, ATakeoverAlwaysEndsWithExactlyOneSideOpen) {
  Explorer explorer;
  explorer.explore();
  for (const auto& world : explorer.seen()) {
    const auto rows = taken_over(world.rows);
    const bool old_open = rows.old_side.state == RowState::kRunning;
    const bool new_open = rows.new_side.state == RowState::kRunning;
    ASSERT_NE(old_open, new_open);
  }
}

TEST(ActRules, ALateFenceOfAnAbortedEpochIsRefused) {
  ArbiterRow row{RowState::kRunning, Epoch(0)};
  row = *after_abort(row, Epoch(5));
  EXPECT_FALSE(after_fence(row, Epoch(5)));
  EXPECT_TRUE(after_fence(row, Epoch(6)));
}

TEST(ActRules, AnAbortAfterTheHandoverIsRefused) {
  const ArbiterRow row{RowState::kHandedOver, Epoch(5)};
  EXPECT_FALSE(after_abort(row, Epoch(5)));
}

TEST(ActRules, ALateOpenAfterTheWayBackIsRefused) {
  const ArbiterRow new_side{RowState::kHandedOver, Epoch(6)};
  const ArbiterRow old_side{RowState::kHandedOver, Epoch(5)};
  EXPECT_FALSE(after_open(new_side, old_side, Epoch(5)));
}

}  // namespace
}  // namespace banyan::replication
