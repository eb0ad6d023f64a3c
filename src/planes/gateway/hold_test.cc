#include "planes/gateway/hold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>

namespace banyan::gateway {
namespace {

class HoldTest : public testing::Test {
 protected:
  HoldTest() { hold.adopt(table); }

  static HoldOrder order(std::uint64_t epoch, std::vector<std::string> routes = {"*"}) {
    HoldOrder out{.epoch = epoch, .routes = std::move(routes)};
    out.bounds = {.max_requests = 10, .max_bytes = 1000, .max_hold = 2s, .max_wait = 5s};
    return out;
  }

  // Waits in the queue; what becomes of it is written to `fates`.
  std::unique_ptr<Ticket> wait(int name, std::size_t route = 0) {
    Entrance entrance = hold.admit(route, {.kind = PassKind::kWrite, .head_bytes = 10});
    auto* ticket = std::get_if<std::unique_ptr<Ticket>>(&entrance);
    EXPECT_NE(ticket, nullptr);
    if (ticket == nullptr) return nullptr;
    (*ticket)->on_ready = [this, name](Admission admission) {
      if (auto* pass = std::get_if<Pass>(&admission)) {
        released.push_back(name);
        inside.push_back(std::move(*pass));
      } else {
        refused.push_back(name);
      }
    };
    return std::move(*ticket);
  }

  Pass enter(std::size_t route = 0, PassKind kind = PassKind::kWrite) {
    Entrance entrance = hold.admit(route, {.kind = kind});
    EXPECT_TRUE(std::holds_alternative<Pass>(entrance));
    return std::holds_alternative<Pass>(entrance) ? std::get<Pass>(std::move(entrance)) : Pass();
  }

  void close(const HoldOrder& order) {
    if (hold.phase() == Phase::kOpen) closed_at = clock.now();
    hold.close(order, clock.now());
  }
  HoldStats open(double pace_per_s = 0, double resume = kResumeSpeed) {
    const HoldStats now = hold.stats();
    return hold.open(
        {.closed_at = closed_at,
         .opened_at = clock.now(),
         .speed = replay_speed(now.held, clock.now() - closed_at, now.rate_before, resume),
         .pace_per_s = pace_per_s});
  }

  // Runs ticks as a loop would until nothing is due within `span`.
  void run(Duration span) {
    const Mono end = clock.now() + span;
    for (auto wake = hold.next_wake(); wake && *wake <= end; wake = hold.next_wake()) {
      clock.advance(std::max(*wake - clock.now(), Duration::zero()));
      hold.tick();
    }
    clock.advance(std::max(end - clock.now(), Duration::zero()));
    hold.tick();
  }

  SimClock clock;
  Mono closed_at{};
  RouteTable table{{{.id = "read", .methods = {"GET"}, .host = {}, .path = "/*", .to = "b"},
                    {.id = "write", .methods = {}, .host = {}, .path = "/*", .to = "b"}}};
  std::vector<int> released;
  std::vector<int> refused;
  ClientConnections waiting;
  Hold hold{clock, waiting};
  std::vector<Pass> inside;  // destroyed before the hold
};

TEST_F(HoldTest, AnOpenHoldAdmitsAndCounts) {
  {
    const Pass one = enter(0);
    const Pass two = enter(1);
    EXPECT_EQ(hold.stats().in_flight, 2);
  }
  EXPECT_EQ(hold.stats().in_flight, 0);
  EXPECT_EQ(hold.next_wake(), std::nullopt);
}

TEST_F(HoldTest, AClosedHoldKeepsRequestsUntilOpenedAndInOrder) {
  close(order(1));
  const auto a = wait(1);
  const auto b = wait(2);
  const auto c = wait(3);
  run(1s);
  EXPECT_THAT(released, testing::IsEmpty());
  EXPECT_EQ(hold.stats().waiting, 3);
  const HoldStats stats = open();
  EXPECT_EQ(stats.held, 3);
  EXPECT_EQ(stats.longest, 1s);
  run(1s);
  EXPECT_THAT(released, testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(hold.stats().in_flight, 3);
}

TEST_F(HoldTest, InFlightOfAClosedHoldCountsOnlyWhoWasInsideBefore) {
  Pass before = enter(0);
  const Pass other = enter(1);
  close(order(1, {"read"}));
  const auto waiting = wait(1);
  EXPECT_EQ(hold.stats().in_flight, 1);
  before.leave();
  EXPECT_EQ(hold.stats().in_flight, 0);
}

TEST_F(HoldTest, RoutesThatAreNotHeldPass) {
  close(order(1, {"write"}));
  const Pass read = enter(0);
  EXPECT_TRUE(read);
  const auto write = wait(1, 1);
  EXPECT_EQ(hold.stats().waiting, 1);
}

TEST_F(HoldTest, ARevocableHoldOpensByItselfAtItsBound) {
  close(order(1));
  const auto ticket = wait(1);
  run(1999ms);
  EXPECT_EQ(hold.phase(), Phase::kRevocable);
  run(2ms);
  EXPECT_EQ(hold.phase(), Phase::kOpen);
  EXPECT_THAT(released, testing::ElementsAre(1));
  EXPECT_EQ(hold.stats().watchdog_opens, 1);
}

TEST_F(HoldTest, ClosingAgainDoesNotExtendTheBound) {
  close(order(1));
  clock.advance(1500ms);
  close(order(1));
  run(501ms);
  EXPECT_EQ(hold.phase(), Phase::kOpen);
}

TEST_F(HoldTest, ACommittedHoldNeverOpensByItselfAndWaitersEndAtTheirDeadline) {
  close(order(1));
  const auto early = wait(1);
  EXPECT_TRUE(hold.commit(1));
  clock.advance(1s);
  const auto late = wait(2);
  run(4s);
  EXPECT_EQ(hold.phase(), Phase::kCommitted);
  EXPECT_THAT(refused, testing::ElementsAre(1));
  run(3600s);
  EXPECT_EQ(hold.phase(), Phase::kCommitted);
  EXPECT_THAT(refused, testing::ElementsAre(1, 2));
  EXPECT_THAT(released, testing::IsEmpty());
  EXPECT_EQ(hold.stats().failed, 2);
}

TEST_F(HoldTest, CommitIsRefusedOnceTheHoldHasOrShouldHaveOpened) {
  close(order(1));
  EXPECT_FALSE(hold.commit(2));
  clock.advance(2s);  // the watchdog has not run
  const auto result = hold.commit(1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kConflict);
  hold.tick();
  EXPECT_FALSE(hold.commit(1));
}

TEST_F(HoldTest, CommitAndCloseAreIdempotentAndACommittedHoldStaysCommitted) {
  close(order(1));
  EXPECT_TRUE(hold.commit(1));
  EXPECT_TRUE(hold.commit(1));
  close(order(1));
  EXPECT_EQ(hold.phase(), Phase::kCommitted);
}

TEST_F(HoldTest, TooManyWaitingAreRefusedWithRetryAfter) {
  close(order(1));
  std::vector<std::unique_ptr<Ticket>> tickets;
  for (int i = 0; i < 10; ++i) tickets.push_back(wait(i));
  Entrance entrance = hold.admit(0, {.kind = PassKind::kWrite});
  ASSERT_TRUE(std::holds_alternative<HoldRefusal>(entrance));
  EXPECT_EQ(std::get<HoldRefusal>(entrance).why, HoldRefusal::Why::kTooMany);
  EXPECT_GE(std::get<HoldRefusal>(entrance).retry_after_s, 1);
  EXPECT_EQ(hold.stats().refused, 1);
}

TEST_F(HoldTest, TooManyBytesAreRefusedAtTheDoorAndNotReadLater) {
  close(order(1));
  const auto ticket = wait(1);
  ticket->keep(900);
  EXPECT_EQ(ticket->room(), 90);
  ticket->keep(90);
  EXPECT_EQ(ticket->room(), 0);
  Entrance entrance = hold.admit(0, {.head_bytes = 100});
  EXPECT_TRUE(std::holds_alternative<HoldRefusal>(entrance));
}

TEST_F(HoldTest, OfOneBodySoMuchIsReadAndNoMore) {
  HoldOrder bounded = order(1);
  bounded.bounds.max_body_bytes = 300;
  close(bounded);
  const auto one = wait(1);
  EXPECT_EQ(one->room(), 300);
  one->keep(300);
  EXPECT_EQ(one->room(), 0);
  EXPECT_EQ(wait(2)->room(), 300) << "one client leaves room for the others";
}

TEST_F(HoldTest, AClientMayHaveSoManyWaitingInAllWorkers) {
  HoldOrder bounded = order(1);
  bounded.bounds.max_per_client = 2;
  close(bounded);
  Hold other(clock, waiting);
  other.adopt(table);
  other.close(bounded, clock.now());
  const auto arrives = [](Hold& at, std::string_view client) {
    return at.admit(0, {.client = client});
  };
  Entrance first = arrives(hold, "2001:db8::1");
  const Entrance second = arrives(other, "2001:db8::2");  // the same /64
  const Entrance third = arrives(hold, "2001:db8::3");
  ASSERT_TRUE(std::holds_alternative<HoldRefusal>(third));
  EXPECT_EQ(std::get<HoldRefusal>(third).why, HoldRefusal::Why::kTooManyOfClient);
  EXPECT_GE(std::get<HoldRefusal>(third).retry_after_s, 1);
  EXPECT_FALSE(std::holds_alternative<HoldRefusal>(arrives(hold, "192.0.2.1")));
  first = Pass();  // it leaves the queue
  EXPECT_FALSE(std::holds_alternative<HoldRefusal>(arrives(hold, "2001:db8::3")));
}

TEST_F(HoldTest, AClientThatLeavesIsForgotten) {
  close(order(1));
  auto first = wait(1);
  const auto second = wait(2);
  first.reset();
  EXPECT_EQ(hold.stats().waiting, 1);
  EXPECT_EQ(hold.stats().bytes, 10);
  open();
  run(1s);
  EXPECT_THAT(released, testing::ElementsAre(2));
}

TEST_F(HoldTest, NewcomersGoBehindTheQueueWhileItIsReleased) {
  close(order(1));
  const auto a = wait(1);
  clock.advance(100ms);
  const auto b = wait(2);
  open();
  hold.tick();
  ASSERT_THAT(released, testing::ElementsAre(1));
  const auto c = wait(3);
  run(1s);
  EXPECT_THAT(released, testing::ElementsAre(1, 2, 3));
  EXPECT_TRUE(enter());
}

TEST_F(HoldTest, AReleaseReplaysTheArrivalsAFifthFaster) {
  HoldOrder large = order(1);
  large.bounds.max_requests = 100'000;
  large.bounds.max_bytes = 1 << 30;
  large.bounds.max_hold = 10s;
  large.bounds.max_wait = 20s;
  close(large);
  std::vector<std::unique_ptr<Ticket>> tickets;
  for (int i = 0; i < 2000; ++i) {
    tickets.push_back(wait(i));
    clock.advance(1ms);
  }
  open();
  for (int i = 0; i < 60; ++i) {
    const std::size_t before = released.size();
    for (int ms = 0; ms < 100; ++ms) {  // and they keep coming
      tickets.push_back(wait(2000 + 100 * i + ms));
      run(1ms);
    }
    EXPECT_LE(released.size() - before, 125U);
  }
  EXPECT_TRUE(std::ranges::is_sorted(released));
  EXPECT_GE(released.size(), 6900U);
}

TEST_F(HoldTest, AFewRequestsAreNotReplayedSlowly) {
  EXPECT_DOUBLE_EQ(replay_speed(4, 2s, 2, 1.2), 100);  // 200 per second, at least
  EXPECT_DOUBLE_EQ(replay_speed(4000, 2s, 2000, 1.2), 1.2);
  EXPECT_DOUBLE_EQ(replay_speed(1000, 2s, 2000, 1.2), 4.8);  // fewer came than before the hold
}

TEST_F(HoldTest, TheRateBeforeIsThatOfSeveralSecondsNotOfTheLastMoment) {
  for (int i = 0; i < 5000; ++i) {
    enter();
    clock.advance(1ms);
  }
  for (int i = 0; i < 400; ++i) {  // a burst of 150 ms, after a stall
    enter();
    if (i % 8 == 0) clock.advance(3ms);
  }
  close(order(1));
  EXPECT_NEAR(hold.stats().rate_before, 1000, 100);
}

TEST(HoldOfSeveralWorkers, LetsInByArrivalOverAllOfThem) {
  SimClock clock;
  const RouteTable table{{{.id = "all", .methods = {}, .host = {}, .path = "/*", .to = "b"}}};
  ClientConnections waiting;
  std::array<std::unique_ptr<Hold>, 3> workers;
  for (auto& worker : workers) {
    worker = std::make_unique<Hold>(clock, waiting);
    worker->adopt(table);
    worker->close({.epoch = 1, .routes = {"*"}}, clock.now());
  }
  const Mono closed_at = clock.now();
  std::vector<int> released;
  std::vector<std::unique_ptr<Ticket>> tickets;
  std::mt19937 chance(1);
  for (int i = 0; i < 1000; ++i) {
    auto ticket = std::get<std::unique_ptr<Ticket>>(
        workers[chance() % 3]->admit(0, {.kind = PassKind::kWrite}));
    ticket->on_ready = [&released, i](Admission) { released.push_back(i); };
    tickets.push_back(std::move(ticket));
    clock.advance(2ms);
  }
  for (auto& worker : workers)
    worker->open({.closed_at = closed_at, .opened_at = clock.now(), .speed = 1.5});
  for (int i = 0; i < 2000; ++i) {
    for (auto& worker : workers) worker->tick();
    clock.advance(1ms);
  }
  EXPECT_EQ(released.size(), 1000U);
  EXPECT_TRUE(std::ranges::is_sorted(released));
}

TEST_F(HoldTest, HoldingWritesLetsReadsPass) {
  const Pass read_before = enter(1, PassKind::kRead);
  Pass write_before = enter(1, PassKind::kWrite);
  HoldOrder writes = order(1);
  writes.methods = MethodClass::kWrites;
  close(writes);
  EXPECT_TRUE(enter(1, PassKind::kRead));
  const auto waiting = wait(1, 1);
  EXPECT_EQ(hold.stats().in_flight, 1);
  write_before.leave();
  EXPECT_EQ(hold.stats().in_flight, 0);
  EXPECT_EQ(hold.stats().reads, 1);
}

TEST_F(HoldTest, HoldsByHost) {
  const RouteTable two(
      {{.id = "shop", .methods = {}, .host = "shop.example", .path = "/*", .to = "b"},
       {.id = "any", .methods = {}, .host = {}, .path = "/*", .to = "b"}});
  hold.adopt(two);
  HoldOrder of_host = order(1);
  of_host.hosts = {"shop.example"};
  close(of_host);
  EXPECT_TRUE(enter(1));
  const auto waiting = wait(1, 0);
  EXPECT_EQ(hold.stats().waiting, 1);
}

TEST_F(HoldTest, AGivenPaceIsNotExceeded) {
  close(order(1));
  std::vector<std::unique_ptr<Ticket>> tickets;
  for (int i = 0; i < 10; ++i) tickets.push_back(wait(i));
  open(10);
  run(500ms);
  EXPECT_LE(released.size(), 6U);
  run(1s);
  EXPECT_EQ(released.size(), 10U);
}

TEST_F(HoldTest, ClosingWhileReleasingKeepsTheOrder) {
  close(order(1));
  const auto a = wait(1);
  clock.advance(100ms);
  const auto b = wait(2);
  open();
  hold.tick();
  close(order(2));
  const auto c = wait(3);
  run(100ms);
  EXPECT_THAT(released, testing::ElementsAre(1));
  open();
  run(1s);
  EXPECT_THAT(released, testing::ElementsAre(1, 2, 3));
}

TEST_F(HoldTest, ANarrowerOrderLetsTheOthersGo) {
  close(order(1));
  const auto read = wait(1, 0);
  const auto write = wait(2, 1);
  close(order(2, {"write"}));
  EXPECT_THAT(released, testing::ElementsAre(1));
}

TEST_F(HoldTest, StreamsAreCountedApartAndNewOnesAreHeld) {
  Pass pass = enter();
  pass.become_stream();
  close(order(1));
  EXPECT_EQ(hold.stats().in_flight, 0);
  EXPECT_EQ(hold.stats().streams, 1);
  Entrance upgrade = hold.admit(0, {.kind = PassKind::kWrite});
  EXPECT_TRUE(std::holds_alternative<std::unique_ptr<Ticket>>(upgrade));
}

TEST_F(HoldTest, AStreamThatIsARequestAgainIsWaitedForAgain) {
  Pass pass = enter();
  EXPECT_FALSE(pass.is_held());
  close(order(1));
  EXPECT_TRUE(pass.is_held());
  pass.become_stream();
  EXPECT_TRUE(pass.is_held());  // its route is
  EXPECT_EQ(hold.stats().in_flight, 0);
  pass.become_request();
  EXPECT_EQ(hold.stats().in_flight, 1);
  EXPECT_EQ(hold.stats().streams, 0);
}

TEST_F(HoldTest, CountsSurviveANewRouteTable) {
  Pass pass = enter(1);
  const RouteTable other{{{.id = "write", .methods = {}, .host = {}, .path = "/*", .to = "c"}}};
  close(order(1));
  const auto ticket = wait(1, 0);
  hold.adopt(other);
  EXPECT_EQ(hold.stats().in_flight, 1);
  pass.leave();
  EXPECT_EQ(hold.stats().in_flight, 0);
  open();
  run(1s);
  EXPECT_THAT(released, testing::ElementsAre(1));
}

TEST_F(HoldTest, ATicketMayBeDestroyedInsideItsOwnCallback) {
  close(order(1));
  std::unique_ptr<Ticket> ticket = wait(1);
  bool called = false;
  ticket->on_ready = [&](Admission) {
    ticket.reset();
    called = true;
  };
  open();
  run(1s);
  EXPECT_TRUE(called);
}

TEST_F(HoldTest, StoppingRefusesEverybody) {
  close(order(1));
  const auto ticket = wait(1);
  hold.stop();
  EXPECT_THAT(refused, testing::ElementsAre(1));
  EXPECT_TRUE(std::holds_alternative<HoldRefusal>(hold.admit(0, {.kind = PassKind::kWrite})));
}

TEST_F(HoldTest, ARestoredCommittedHoldIsStillClosed) {
  HoldOrder committed = order(7);
  committed.phase = Phase::kCommitted;
  hold.restore(*HoldOrder::from_json(committed.to_json()));
  const auto ticket = wait(1);
  run(4s);
  EXPECT_EQ(hold.phase(), Phase::kCommitted);
  open();
  run(1s);
  EXPECT_THAT(released, testing::ElementsAre(1));
}

TEST(HoldOrder, SurvivesJsonAndRefusesNonsense) {
  HoldOrder order{.phase = Phase::kCommitted, .epoch = 3, .routes = {"a", "b"}};
  EXPECT_EQ(*HoldOrder::from_json(order.to_json()), order);
  EXPECT_FALSE(HoldOrder::from_json({{"routes", {"*"}}}));
  EXPECT_FALSE(HoldOrder::from_json({{"epoch", 1}, {"max_ms", 0}}));
  EXPECT_FALSE(HoldOrder::from_json({{"epoch", 1}, {"routes", "all"}}));
}

// Random orders, arrivals and departures against a model: nobody is lost, doubled or overtaken,
// and nobody enters a route while it is held.
TEST_F(HoldTest, HoldsItsPromisesUnderAThousandRandomSchedules) {
  for (unsigned seed = 0; seed < 1000; ++seed) {
    std::mt19937 chance(seed);
    Hold random(clock, waiting);
    random.adopt(table);
    std::map<int, std::unique_ptr<Ticket>> waiting;
    std::vector<Pass> passes;
    std::vector<int> order_of_release;
    std::set<int> left;
    int next = 0;
    std::uint64_t epoch = 0;
    for (int step = 0; step < 60; ++step) {
      switch (chance() % 8) {
        case 0:
          random.close(order(++epoch), closed_at = clock.now());
          break;
        case 1:
          (void)random.commit(epoch);
          break;  // refused when open: part of the schedule
        case 2:
          random.open({.closed_at = closed_at, .opened_at = clock.now()});
          break;
        case 3:
          clock.advance(std::chrono::milliseconds(chance() % 700));
          break;
        case 4:
          if (!waiting.empty()) {
            left.insert(waiting.begin()->first);
            waiting.erase(waiting.begin());
          }
          break;
        case 5:
          if (!passes.empty()) passes.pop_back();
          break;
        default: {
          const int name = next++;
          Entrance entrance = random.admit(0, {.kind = PassKind::kWrite});
          if (auto* ticket = std::get_if<std::unique_ptr<Ticket>>(&entrance)) {
            (*ticket)->on_ready = [&, name](Admission admission) {
              if (auto* pass = std::get_if<Pass>(&admission)) {
                EXPECT_EQ(random.phase(), Phase::kOpen);
                order_of_release.push_back(name);
                passes.push_back(std::move(*pass));
              }
              waiting.erase(name);
            };
            waiting.emplace(name, std::move(*ticket));
          } else if (auto* pass = std::get_if<Pass>(&entrance)) {
            ASSERT_EQ(random.phase(), Phase::kOpen) << "seed " << seed;
            ASSERT_TRUE(waiting.empty()) << "overtook the queue, seed " << seed;
            passes.push_back(std::move(*pass));
          }
        }
      }
      random.tick();
      ASSERT_EQ(random.stats().waiting, std::ssize(waiting)) << "seed " << seed;
      ASSERT_EQ(random.stats().in_flight, std::ssize(passes)) << "seed " << seed;
    }
    random.open({.closed_at = closed_at, .opened_at = clock.now()});
    for (int i = 0; i < 1000 && !waiting.empty(); ++i) {
      clock.advance(10ms);
      random.tick();
    }
    ASSERT_TRUE(waiting.empty()) << "seed " << seed;
    ASSERT_TRUE(std::ranges::is_sorted(order_of_release)) << "seed " << seed;
    for (int name : order_of_release) ASSERT_FALSE(left.contains(name)) << "seed " << seed;
    passes.clear();
  }
}

}  // namespace
}  // namespace banyan::gateway
