#include "migration/gateways.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <unordered_set>
#include <vector>

namespace banyan::migration {
namespace {

// One gateway as it is, whether it is seen or not. An order that it was too slow for is `late`: it
// may still be obeyed when the process goes on.
struct Gateway {
  Door door = Door::kOpen;
  bool drained = false;
  bool routed_to = false;
  bool answers = true;
  bool late_close = false;
  bool late_commit = false;
  bool late_open = false;
};

// Two gateways in front of one attempt. The first may crash and be back at once; the second may
// also be stopped for any time, and then go on. Orders to either may be lost, or done and not
// answered.
struct World {
  Intent intent = Intent::kCutOver;
  Committed committed = Committed::kNo;
  std::array<Gateway, 2> gateways;
  Observation rest = {.prepared = true};
};

std::uint64_t key_of(const World& w) {
  std::uint64_t key = 1;
  const auto add = [&key](auto bits, int width) {
    key = (key << width) | static_cast<std::uint64_t>(bits);
  };
  add(w.intent, 1);
  add(w.committed, 1);
  for (const Gateway& g : w.gateways) {
    add(g.door, 2);
    for (const bool bit :
         {g.drained, g.routed_to, g.answers, g.late_close, g.late_commit, g.late_open})
      add(bit, 1);
  }
  const Observation& s = w.rest;
  for (const bool bit : {s.unseen, s.fenced, s.caught_up, s.handed_over, s.opened, s.undone,
                         s.turned, s.past_deadline})
    add(bit, 1);
  return key;
}

// What the conductor sees; nothing while no gateway answers.
std::optional<Observation> observe(const World& w) {
  Observation seen = w.rest;
  // The acts behind the fence are explored one by one in cutover_test.cc.
  seen.sequences_set = seen.files_drained = seen.sessions_carried = seen.checked = seen.caught_up;
  std::vector<GatewaySeen> gateways;
  bool any = false;
  for (const Gateway& g : w.gateways) {
    gateways.push_back({.answers = g.answers,
                        .door = g.door,
                        .drained = g.door != Door::kOpen && g.drained,
                        .routed_to = g.routed_to});
    any |= g.answers;
  }
  if (!any) return std::nullopt;
  see_gateways(gateways, w.committed, seen);
  return seen;
}

// A gateway obeys; false: it refuses.
bool close(Gateway& g) {
  if (g.door == Door::kOpen) g.drained = false;
  if (g.door != Door::kCommitted) g.door = Door::kRevocable;
  return true;
}
bool commit(Gateway& g) {
  if (g.door == Door::kOpen) return false;
  g.door = Door::kCommitted;
  return true;
}
// Refused while the routes are older than the act; those of the way back are put just before.
bool open(Gateway& g, bool decided) {
  if (decided && !g.routed_to) return false;
  g.door = Door::kOpen;
  return true;
}

enum class Fate : std::uint8_t { kDone, kLost, kLate };

bool obey(Gateway& g, Act act, bool decided) {
  if (act == Act::kHold) return close(g);
  if (act == Act::kCommitHold) return commit(g);
  if (act == Act::kRelease) return open(g, decided);
  g.routed_to = true;
  return true;
}

bool tell(Gateway& g, Act act, Fate fate, bool decided) {
  if (g.answers && fate == Fate::kDone) return obey(g, act, decided);
  if (fate != Fate::kLate) return false;
  g.late_close |= act == Act::kHold;
  g.late_commit |= act == Act::kCommitHold;
  g.late_open |= act == Act::kRelease;
  return false;
}

bool is_traffic(Act act) {
  return act == Act::kHold || act == Act::kCommitHold || act == Act::kRelease ||
         act == Act::kFlipRoutes;
}

void add_traffic(const World& w, Act act, std::vector<World>& next) {
  for (const Fate first : {Fate::kDone, Fate::kLost, Fate::kLate}) {
    for (const Fate second : {Fate::kDone, Fate::kLost, Fate::kLate}) {
      World n = w;
      const bool one = tell(n.gateways[0], act, first, w.rest.handed_over);
      const bool two = tell(n.gateways[1], act, second, w.rest.handed_over);
      const bool must_all = act == Act::kHold || act == Act::kCommitHold;
      if (must_all && !(one && two)) n.intent = Intent::kAbort;
      const bool all_committed = act == Act::kCommitHold && one && two;
      if (all_committed) n.committed = Committed::kByAll;
      next.push_back(n);
      if (!all_committed) continue;
      n.committed = Committed::kNo;  // done, but one answer was lost
      n.intent = Intent::kAbort;
      next.push_back(n);
    }
  }
}

void do_data(Observation& s, Act act) {
  s.fenced |= act == Act::kFence && !s.undone;
  s.caught_up |= act == Act::kAwaitBarrier;
  s.handed_over |= act == Act::kHandOver && !s.undone;
  s.opened |= act == Act::kOpenTarget;
  s.turned |= act == Act::kTurn;
  if (act != Act::kUnfence || s.handed_over) return;
  s.undone = true;
  s.fenced = s.caught_up = false;
}

void add_act(const World& w, std::vector<World>& next) {
  const auto seen = observe(w);
  if (!seen) return;
  World n = w;
  if (seen->any_missing && !seen->handed_over) n.intent = Intent::kAbort;
  const Act act = next_act(n.intent, *seen);
  if (is_traffic(act)) return add_traffic(n, act, next);
  do_data(n.rest, act);
  next.push_back(n);
}

void die(Gateway& g) {
  if (g.door == Door::kRevocable) g.door = Door::kOpen;  // only what is committed is remembered
  g.late_close = g.late_commit = g.late_open = false;
}

// What happens to a gateway by itself.
void add_gateway_events(const World& w, std::size_t i, std::vector<World>& next) {
  const auto with = [&](auto change) {
    World n = w;
    change(n.gateways[i]);
    next.push_back(n);
  };
  const Gateway& g = w.gateways[i];
  with([](Gateway& n) { die(n); });
  if (g.door != Door::kOpen) with([](Gateway& n) { n.drained = true; });
  if (g.door == Door::kRevocable) with([](Gateway& n) { n.door = Door::kOpen; });
  with([](Gateway& n) { n.answers = !n.answers; });
  if (g.late_close) with([](Gateway& n) { n.late_close = !close(n); });
  if (g.late_commit) with([](Gateway& n) { n.late_commit = !commit(n); });
  if (g.late_open) with([&](Gateway& n) { n.late_open = !open(n, w.rest.handed_over); });
}

std::vector<World> successors(const World& w) {
  std::vector<World> next;
  add_act(w, next);
  for (std::size_t i = 0; i < w.gateways.size(); ++i) add_gateway_events(w, i, next);
  const auto with = [&](auto change) {
    World n = w;
    change(n);
    next.push_back(n);
  };
  with([](World& n) { n.intent = Intent::kAbort; });
  with([](World& n) { n.rest.past_deadline = true; });
  with([](World& n) { n.rest.unseen = !n.rest.unseen; });
  return next;
}

const std::vector<World>& reachable() {
  static const std::vector<World> all = [] {
    std::unordered_set<std::uint64_t> seen = {key_of(World{})};
    std::vector<World> found = {World{}};
    for (std::size_t at = 0; at < found.size(); ++at)
      for (const World& n : successors(World(found[at])))
        if (seen.insert(key_of(n)).second) found.push_back(n);
    return found;
  }();
  return all;
}

TEST(Gateways, NoneOfTwoEverLeadsToAFencedSideWhateverIsLostOrLate) {
  for (const World& w : reachable())
    for (const Gateway& g : w.gateways)
      if (g.door == Door::kOpen && !g.routed_to) ASSERT_FALSE(w.rest.fenced || w.rest.handed_over);
}

TEST(Gateways, NothingIsFencedBeforeAllHaveCommittedAndAreDrained) {
  for (const World& w : reachable()) {
    const auto seen = observe(w);
    if (!seen || next_act(w.intent, *seen) != Act::kFence) continue;
    for (const Gateway& g : w.gateways) ASSERT_TRUE(g.door == Door::kCommitted && g.drained);
  }
}

TEST(Gateways, ALostOneEndsTheAttemptBeforeTheCommitAndNotAfterIt) {
  bool decided_without_one = false;
  for (const World& w : reachable()) {
    const auto seen = observe(w);
    if (!seen || seen->unseen || w.gateways[1].answers) continue;
    const Act act = next_act(w.intent, *seen);
    if (w.committed == Committed::kNo) ASSERT_NE(act, Act::kFence);
    decided_without_one |= act == Act::kHandOver;
  }
  EXPECT_TRUE(decided_without_one);
}

// With the second one back, or away for good.
TEST(Gateways, EveryStateEndsWithEveryDoorThatAnswersOpenOnOneSide) {
  for (const bool second_answers : {true, false}) {
    for (World w : reachable()) {
      w.rest.unseen = false;
      w.gateways[0].answers = true;
      w.gateways[1].answers = second_answers;
      Act act = Act::kWait;
      for (int step = 0; step < 40 && act != Act::kDone; ++step) {
        for (Gateway& g : w.gateways) g.drained |= g.door != Door::kOpen;
        const auto seen = observe(w);
        if (w.rest.undone || (seen->any_missing && !seen->handed_over)) w.intent = Intent::kAbort;
        act = next_act(w.intent, *seen);
        std::vector<World> next;
        add_act(w, next);
        w = next.front();  // nothing is lost any more
      }
      ASSERT_EQ(act, Act::kDone);
      for (const Gateway& g : w.gateways) {
        if (!g.answers) continue;
        ASSERT_EQ(g.door, Door::kOpen);
        ASSERT_EQ(g.routed_to, w.rest.handed_over);
      }
    }
  }
}

TEST(Gateways, TheWholeSpaceIsExplored) {
  EXPECT_GT(reachable().size(), 10'000U);
}

}  // namespace
}  // namespace banyan::migration
