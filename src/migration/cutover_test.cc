#include "migration/cutover.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <set>
#include <vector>

namespace banyan::migration {
namespace {

struct World {
  Intent intent = Intent::kCutOver;
  Observation seen;
  friend auto operator<=>(const World&, const World&) = default;
};

void lose_receipts(Observation& s) {
  s.sequences_set = s.files_drained = s.sessions_carried = s.checked = false;
}

void set_door(Observation& s, Door door) {
  s.door = door;
  s.any_closed = door != Door::kOpen;
}

void release(Observation& s) {
  set_door(s, Door::kOpen);
  s.drained = false;
}

// The database refuses it after the hand-over; else it spends the attempt.
void unfence(Observation& s) {
  if (s.handed_over) return;
  s.undone = true;
  s.fenced = s.caught_up = false;
  lose_receipts(s);
}

World after(World w, Act act) {
  auto& s = w.seen;
  switch (act) {
    case Act::kDone:
    case Act::kWait:
      break;
    case Act::kPrepare:
      s.prepared = true;
      break;
    case Act::kHold:
      set_door(s, Door::kRevocable);
      break;
    case Act::kCommitHold:
      set_door(s, Door::kCommitted);
      break;
    case Act::kFence:
      s.fenced = !s.undone;
      break;
    case Act::kAwaitBarrier:
      s.caught_up = true;
      break;
    case Act::kSetSequences:
      s.sequences_set = true;
      break;
    case Act::kDrainFiles:
      s.files_drained = true;
      break;
    case Act::kCarrySessions:
      s.sessions_carried = true;
      break;
    case Act::kCheck:
      s.checked = true;
      break;
    case Act::kHandOver:
      s.handed_over = !s.undone;
      break;
    case Act::kOpenTarget:
      s.opened = true;
      break;
    case Act::kTurn:
      s.turned = true;
      break;
    case Act::kFlipRoutes:
      s.routed_to = true;
      break;
    case Act::kRelease:
      release(s);
      break;
    case Act::kUnfence:
      unfence(s);
      break;
  }
  return w;
}

// Everything that can happen next: the act takes effect; or it is lost; the operator aborts; time
// passes; a revocable door reopens by itself; the conductor is replaced by one that aborts.
std::vector<World> successors(const World& w) {
  std::vector<World> next = {after(w, next_act(w.intent, w.seen))};
  auto with = [&](auto change) {
    World n = w;
    change(n);
    next.push_back(n);
  };
  with([](World& n) { n.intent = Intent::kAbort; });
  with([](World& n) { n.seen.past_deadline = true; });
  if (w.seen.door != Door::kOpen) with([](World& n) { n.seen.drained = true; });
  if (w.seen.door == Door::kRevocable) with([](World& n) { release(n.seen); });
  if (!w.seen.handed_over) with([](World& n) { lose_receipts(n.seen); });
  with([](World& n) { n.seen.unseen = !n.seen.unseen; });  // a database goes away or comes back
  return next;
}

const std::set<World>& reachable() {
  static const std::set<World> all = [] {
    std::set<World> seen = {World{}};
    std::deque<World> todo = {World{}};
    for (; !todo.empty(); todo.pop_front())
      for (const World& n : successors(todo.front()))
        if (seen.insert(n).second) todo.push_back(n);
    return seen;
  }();
  return all;
}

TEST(Cutover, AnOpenDoorNeverLeadsToAFencedSide) {
  for (const World& w : reachable()) {
    const Observation& s = w.seen;
    if (s.door != Door::kOpen || s.routed_to) continue;
    EXPECT_FALSE(s.fenced || s.handed_over);
  }
}

TEST(Cutover, ARevocableDoorNeverStandsBeforeAFence) {
  for (const World& w : reachable())
    if (w.seen.door == Door::kRevocable) EXPECT_FALSE(w.seen.fenced);
}

TEST(Cutover, TheDecisionIsTakenOnlyWhenEverythingIsOver) {
  for (const World& w : reachable()) {
    if (next_act(w.intent, w.seen) != Act::kHandOver) continue;
    EXPECT_FALSE(w.seen.unseen);
    const Observation& s = w.seen;
    EXPECT_TRUE(s.prepared && s.drained && s.fenced && s.caught_up && s.sequences_set &&
                s.files_drained && s.sessions_carried && s.checked);
    EXPECT_EQ(s.door, Door::kCommitted);
  }
}

TEST(Cutover, TheNewSideServesOnlyAfterItWasOpened) {
  for (const World& w : reachable())
    if (w.seen.routed_to) EXPECT_TRUE(w.seen.handed_over && w.seen.opened);
}

TEST(Cutover, NothingIsUnfencedAfterTheDecision) {
  for (const World& w : reachable())
    if (w.seen.handed_over && !w.seen.unseen) EXPECT_NE(next_act(w.intent, w.seen), Act::kUnfence);
}

TEST(Cutover, EveryStateEndsWithTheDoorOpenOnExactlyOneSide) {
  for (World w : reachable()) {
    w.seen.unseen = false;
    if (w.seen.undone) w.intent = Intent::kAbort;  // its conductor knows that the fence fails now
    for (int step = 0; step < 40 && next_act(w.intent, w.seen) != Act::kDone; ++step) {
      w = after(w, next_act(w.intent, w.seen));
      if (w.seen.door != Door::kOpen) w.seen.drained = true;
    }
    EXPECT_EQ(next_act(w.intent, w.seen), Act::kDone);
    EXPECT_EQ(w.seen.door, Door::kOpen);
    EXPECT_EQ(w.seen.routed_to, w.seen.handed_over);
    EXPECT_EQ(w.seen.fenced, w.seen.handed_over);
  }
}

TEST(Cutover, TheWholeSpaceIsExplored) {
  EXPECT_GT(reachable().size(), 50U);
}

TEST(Cutover, UndisturbedActsLeadFromPreparationThroughTheDecisionToTheRelease) {
  const auto acts = undisturbed_acts({});
  ASSERT_FALSE(acts.empty());
  EXPECT_EQ(acts.front(), Act::kPrepare);
  EXPECT_EQ(acts.back(), Act::kTurn);
  EXPECT_EQ(std::set<Act>(acts.begin(), acts.end()).size(), acts.size());
  EXPECT_LT(std::ranges::find(acts, Act::kFence), std::ranges::find(acts, Act::kHandOver));
  for (const Act act : acts) EXPECT_FALSE(act_purpose(act).empty()) << act_name(act);
}

TEST(Cutover, UndisturbedActsLeaveOutWhatIsDone) {
  const auto acts = undisturbed_acts({.files_drained = true, .sessions_carried = true});
  EXPECT_EQ(std::ranges::count(acts, Act::kDrainFiles), 0);
  EXPECT_EQ(std::ranges::count(acts, Act::kCarrySessions), 0);
}

}  // namespace
}  // namespace banyan::migration
