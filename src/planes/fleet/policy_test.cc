#include "planes/fleet/policy.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace banyan::fleet {
namespace {

using Kind = FleetAct::Kind;
using State = InstanceState;

ServiceWish wish(int instances, int min_per_zone, std::vector<std::string> zones) {
  return {.name = "web",
          .revision = "r1",
          .instances = instances,
          .min_per_zone = min_per_zone,
          .zones = std::move(zones)};
}

SeenInstance instance(std::string id, std::string zone, State state, std::string revision = "r1") {
  return {.id = std::move(id),
          .service = "web",
          .zone = std::move(zone),
          .revision = std::move(revision),
          .state = state,
          .since = Mono(100s),
          .retry_at = Mono(100s)};
}

int count(const std::vector<FleetAct>& acts, Kind kind) {
  return static_cast<int>(std::ranges::count(acts, kind, &FleetAct::kind));
}

TEST(FleetPolicy, SevenOverThreeZonesAreThreeTwoTwo) {
  EXPECT_EQ(zone_targets(wish(7, 1, {"a", "b", "c"})), (std::vector<int>{3, 2, 2}));
  EXPECT_EQ(zone_targets(wish(1, 1, {"a", "b", "c"})), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(zone_targets(wish(0, 0, {"a"})), (std::vector<int>{0}));
}

TEST(FleetPolicy, ReadyInstancesStayUntilTheirReplacementsAreReady) {
  std::vector<SeenInstance> seen = {instance("1", "a", State::kReady, "r0"),
                                    instance("2", "a", State::kReady, "r0"),
                                    instance("3", "a", State::kStarting)};
  auto acts = next_fleet_acts({wish(2, 0, {"a"})}, seen, Mono(100s));
  EXPECT_EQ(count(acts, Kind::kDrain), 0);
  EXPECT_EQ(count(acts, Kind::kStart), 1);
  seen[2].state = State::kReady;
  acts = next_fleet_acts({wish(2, 0, {"a"})}, seen, Mono(100s));
  EXPECT_EQ(count(acts, Kind::kDrain), 1);
}

TEST(FleetPolicy, AZoneThatReturnsIsFilledBeforeOthersAreEmptied) {
  std::vector<SeenInstance> seen;
  for (int i = 0; i < 4; ++i) seen.push_back(instance("a" + std::to_string(i), "a", State::kReady));
  const auto acts = next_fleet_acts({wish(4, 1, {"a", "b"})}, seen, Mono(100s));
  EXPECT_EQ(count(acts, Kind::kStart), 2);
  EXPECT_EQ(count(acts, Kind::kDrain), 0);
}

TEST(FleetPolicy, AServiceNobodyWantsIsDrained) {
  const auto acts = next_fleet_acts({}, {instance("1", "a", State::kReady)}, Mono(100s));
  EXPECT_EQ(count(acts, Kind::kDrain), 1);
}

TEST(FleetPolicy, WhatDoesNotStopIsKilledAfterItsGrace) {
  const auto service = wish(0, 0, {"a"});
  const std::vector<SeenInstance> seen = {instance("1", "a", State::kStopping)};
  EXPECT_EQ(count(next_fleet_acts({service}, seen, Mono(105s)), Kind::kKill), 0);
  EXPECT_EQ(count(next_fleet_acts({service}, seen, Mono(110s)), Kind::kKill), 1);
}

TEST(FleetPolicy, BackOffDoublesUpToABoundAndTheFirstIsImmediate) {
  EXPECT_EQ(backoff_delay(1, 0.5), 0s);
  EXPECT_EQ(backoff_delay(2, 0.5), 250ms);
  EXPECT_EQ(backoff_delay(3, 0.5), 500ms);
  EXPECT_LE(backoff_delay(1000, 0.999), 38s);
  EXPECT_GE(backoff_delay(1000, 0.0), 22s);
}

// A world that obeys the acts and otherwise does what it likes.
class World {
 public:
  explicit World(unsigned seed) : random_(seed) {}

  void step(const std::vector<ServiceWish>& desired, bool mischief) {
    now_ += 500ms;
    for (const FleetAct& act : next_fleet_acts(desired, seen_, now_)) obey(act);
    for (SeenInstance& seen : seen_) {
      if (seen.state == State::kStarting && chance(2)) turn(seen, State::kReady);
      if (seen.state == State::kUnhealthy && chance(2)) turn(seen, State::kReady);
      if (mischief) annoy(seen);
    }
    std::erase_if(seen_,
                  [&](const SeenInstance& s) { return s.state == State::kStopping && chance(2); });
  }

  int ready() const {
    return static_cast<int>(std::ranges::count(seen_, State::kReady, &SeenInstance::state));
  }
  std::map<std::string, int> ready_by_zone() const {
    std::map<std::string, int> zones;
    for (const SeenInstance& seen : seen_) zones[seen.zone] += seen.state == State::kReady;
    return zones;
  }
  std::size_t size() const { return seen_.size(); }
  bool all_of(const std::string& revision) const {
    return std::ranges::all_of(seen_, [&](const auto& s) { return s.revision == revision; });
  }
  std::string revision = "r1";

 private:
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  void turn(SeenInstance& seen, State state) {
    seen.state = state;
    seen.since = now_;
  }
  void annoy(SeenInstance& seen) {
    const bool has_process = seen.state != State::kBackoff && seen.state < State::kDraining;
    if (has_process && chance(10)) {
      turn(seen, State::kBackoff);
      seen.retry_at = now_ + 1s;
    } else if (seen.state == State::kReady && chance(10)) {
      turn(seen, State::kUnhealthy);
    }
  }
  void obey(const FleetAct& act) {
    if (act.kind == Kind::kStart) {
      seen_.push_back(
          instance(fmt::format("{:05}", next_id_++), act.zone, State::kStarting, revision));
      seen_.back().since = now_;
      return;
    }
    const auto found = std::ranges::find(seen_, act.instance, &SeenInstance::id);
    ASSERT_NE(found, seen_.end());
    switch (act.kind) {
      case Kind::kRelaunch:
        return turn(*found, State::kStarting);
      case Kind::kDrain:
        return turn(*found, State::kDraining);
      case Kind::kTerminate:
        return turn(*found, State::kStopping);
      case Kind::kForget:
        seen_.erase(found);
        return;
      default:
        if (found->state == State::kStopping) {
          seen_.erase(found);
        } else {
          turn(*found, State::kBackoff);
        }
    }
  }

  std::mt19937 random_;
  Mono now_{1000s};
  int next_id_ = 0;
  std::vector<SeenInstance> seen_;
};

TEST(FleetPolicy, WhateverHappensTheFleetConverges) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    World world(seed);
    for (int i = 0; i < 30; ++i) world.step({wish(7, 1, {"a", "b", "c"})}, true);
    for (int i = 0; i < 30; ++i) world.step({wish(4, 1, {"a", "b"})}, true);
    auto last = wish(5, 1, {"a", "b", "c"});
    last.revision = world.revision = "r2";
    for (int i = 0; i < 120; ++i) world.step({last}, false);
    EXPECT_EQ(world.ready_by_zone(), (std::map<std::string, int>{{"a", 2}, {"b", 2}, {"c", 1}}));
    EXPECT_EQ(world.size(), 5U);
    EXPECT_TRUE(world.all_of("r2"));
  }
}

TEST(FleetPolicy, AChangeNeverLeavesFewerReadyThanWanted) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    World world(seed);
    for (int i = 0; i < 60; ++i) world.step({wish(7, 1, {"a", "b"})}, false);
    ASSERT_EQ(world.ready(), 7);
    auto changed = wish(7, 1, {"b", "c", "d"});
    changed.revision = world.revision = "r2";
    for (int i = 0; i < 100; ++i) {
      world.step({changed}, false);
      ASSERT_GE(world.ready(), 7);
    }
    EXPECT_EQ(world.ready(), 7);
  }
}

}  // namespace
}  // namespace banyan::fleet
