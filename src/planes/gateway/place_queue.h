#pragma once
// PlaceQueue: so many requests inside at once, the others wait in order of priority, then of
// arrival; when too many wait, the last of the lowest priority is sent away. Pure: no clock, no
// socket; who waits watches its own deadline and gives up. One thread.

#include <cstdint>
#include <functional>
#include <list>

namespace banyan::gateway {

enum class Priority : std::uint8_t { kLow, kNormal, kHigh };

class PlaceQueue {
 public:
  enum class State : std::uint8_t { kOutside, kWaiting, kInside, kShed };
  // Belongs to the request, and outlives its stay. Leaves by itself.
  class Place {
   public:
    Place() = default;
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { leave(); }
    State state() const { return state_; }
    // Whatever it was, it is outside now; the next one may come in.
    void leave();
    std::function<void()> on_change;  // no longer waiting; decide at your own pace

   private:
    friend class PlaceQueue;
    PlaceQueue* queue_ = nullptr;
    State state_ = State::kOutside;
    Priority priority_ = Priority::kNormal;
  };

  // 0 inside: no limit. A lower limit lets those inside finish.
  void set_limits(std::int64_t inside_max, std::int64_t waiting_max);
  bool is_limited() const { return inside_max_ > 0; }
  // The place's state says how it went: inside, waiting or shed. `place` is outside.
  State enter(Place& place, Priority priority);

  std::int64_t inside() const { return inside_; }
  std::int64_t waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  std::uint64_t shed() const { return shed_; }

 private:
  void admit();
  void send_away(Place& place);

  std::int64_t inside_max_ = 0;
  std::int64_t waiting_max_ = 0;
  std::int64_t inside_ = 0;
  std::uint64_t shed_ = 0;
  std::list<Place*> waiting_;  // best first
};

}  // namespace banyan::gateway
