#include "planes/gateway/place_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "wire/http/head_writer.h"

namespace banyan::gateway {
namespace {

using State = PlaceQueue::State;

TEST(PlaceQueue, WithoutALimitEverybodyIsInside) {
  PlaceQueue queue;
  PlaceQueue::Place a;
  PlaceQueue::Place b;
  EXPECT_EQ(queue.enter(a, Priority::kLow), State::kInside);
  EXPECT_EQ(queue.enter(b, Priority::kLow), State::kInside);
  a.leave();
  EXPECT_EQ(queue.inside(), 1);
}

TEST(PlaceQueue, WhoLeavesLetsTheNextOneIn) {
  PlaceQueue queue;
  queue.set_limits(1, 2);
  PlaceQueue::Place a;
  PlaceQueue::Place b;
  PlaceQueue::Place c;
  int told = 0;
  b.on_change = [&] { ++told; };
  queue.enter(a, Priority::kNormal);
  EXPECT_EQ(queue.enter(b, Priority::kNormal), State::kWaiting);
  EXPECT_EQ(queue.enter(c, Priority::kHigh), State::kWaiting);
  a.leave();
  EXPECT_EQ(c.state(), State::kInside);
  c.leave();
  EXPECT_EQ(b.state(), State::kInside);
  EXPECT_EQ(told, 1);
}

TEST(PlaceQueue, TheLastOfTheLowestPriorityIsSentAway) {
  PlaceQueue queue;
  queue.set_limits(1, 2);
  std::array<PlaceQueue::Place, 6> places;
  queue.enter(places[0], Priority::kNormal);
  queue.enter(places[1], Priority::kLow);
  queue.enter(places[2], Priority::kLow);
  EXPECT_EQ(queue.enter(places[3], Priority::kNormal), State::kWaiting);
  EXPECT_EQ(places[2].state(), State::kShed);
  EXPECT_EQ(queue.enter(places[4], Priority::kLow), State::kShed);
  EXPECT_EQ(queue.enter(places[5], Priority::kHigh), State::kWaiting);
  EXPECT_EQ(places[1].state(), State::kShed);
  EXPECT_EQ(queue.shed(), 3U);
}

TEST(PlaceQueue, ARaisedLimitLetsMoreIn) {
  PlaceQueue queue;
  queue.set_limits(1, 5);
  std::array<PlaceQueue::Place, 4> places;
  for (auto& place : places) queue.enter(place, Priority::kNormal);
  queue.set_limits(3, 5);
  EXPECT_EQ(queue.inside(), 3);
  queue.set_limits(1, 5);
  EXPECT_EQ(queue.inside(), 3);
  EXPECT_EQ(queue.waiting(), 1);
}

TEST(PlaceQueue, CountsHoldWhateverHappens) {
  http::IdSource chance(11);
  PlaceQueue queue;
  queue.set_limits(5, 10);
  std::vector<std::unique_ptr<PlaceQueue::Place>> places;
  for (int step = 0; step < 20'000; ++step) {
    if (chance.next() % 2 == 0) {
      auto place = std::make_unique<PlaceQueue::Place>();
      queue.enter(*place, static_cast<Priority>(chance.next() % 3));
      places.push_back(std::move(place));
    } else if (!places.empty()) {
      places.erase(places.begin() + static_cast<std::ptrdiff_t>(chance.next() % places.size()));
    }
    if (step % 1000 == 0) queue.set_limits(1 + static_cast<int>(chance.next() % 8), 10);
    const auto inside =
        std::ranges::count_if(places, [](auto& p) { return p->state() == State::kInside; });
    const auto waiting =
        std::ranges::count_if(places, [](auto& p) { return p->state() == State::kWaiting; });
    ASSERT_EQ(queue.inside(), inside);
    ASSERT_EQ(queue.waiting(), waiting);
    ASSERT_LE(waiting, 10);
  }
  places.clear();
  EXPECT_EQ(queue.inside() + queue.waiting(), 0);
}

}  // namespace
}  // namespace banyan::gateway
