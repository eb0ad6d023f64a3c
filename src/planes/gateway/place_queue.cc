#include "planes/gateway/place_queue.h"

#include <algorithm>

namespace banyan::gateway {

void PlaceQueue::Place::leave() {
  PlaceQueue* const queue = std::exchange(queue_, nullptr);
  const State before = std::exchange(state_, State::kOutside);
  if (queue == nullptr) return;
  if (before == State::kWaiting) queue->waiting_.remove(this);
  if (before != State::kInside) return;
  --queue->inside_;
  queue->admit();
}

void PlaceQueue::set_limits(std::int64_t inside_max, std::int64_t waiting_max) {
  inside_max_ = inside_max;
  waiting_max_ = waiting_max;
  admit();
}

void PlaceQueue::admit() {
  while (!waiting_.empty() && (inside_max_ == 0 || inside_ < inside_max_)) {
    Place* const next = waiting_.front();
    waiting_.pop_front();
    next->state_ = State::kInside;
    ++inside_;
    if (next->on_change) next->on_change();
  }
}

void PlaceQueue::send_away(Place& place) {
  ++shed_;
  place.state_ = State::kShed;
  place.queue_ = nullptr;
  if (place.on_change) place.on_change();
}

PlaceQueue::State PlaceQueue::enter(Place& place, Priority priority) {
  place.queue_ = this;
  place.priority_ = priority;
  if (inside_max_ == 0 || (inside_ < inside_max_ && waiting_.empty())) {
    ++inside_;
    return place.state_ = State::kInside;
  }
  place.state_ = State::kWaiting;
  const auto behind = std::ranges::find_if(
      waiting_, [&](const Place* other) { return other->priority_ < priority; });
  waiting_.insert(behind, &place);
  if (static_cast<std::int64_t>(waiting_.size()) > waiting_max_) {
    Place* const last = waiting_.back();
    waiting_.pop_back();
    send_away(*last);
  }
  return place.state_;
}

}  // namespace banyan::gateway
