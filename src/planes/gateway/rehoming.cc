#include "planes/gateway/rehoming.h"

#include <algorithm>

#include "planes/gateway/exchange.h"

namespace banyan::gateway {

void Rehoming::enlist(Exchange& exchange) {
  streams_.emplace(&exchange, io::kNever);
  if (!is_at_home(exchange)) schedule(exchange, Duration::max());
}

void Rehoming::delist(Exchange& exchange) {
  unschedule(exchange);
  streams_.erase(&exchange);
}

bool Rehoming::is_at_home(Exchange& exchange) const {
  return !dismissing_ && exchange.is_at_home();
}

void Rehoming::review(Duration at_most) {
  if (streams_.empty()) return;
  for (auto& [exchange, due] : streams_) {
    const bool at_home = rules_.mode == "never" || is_at_home(*exchange);
    if (at_home) unschedule(*exchange);
    if (!at_home && due == io::kNever) schedule(*exchange, at_most);
  }
}

void Rehoming::dismiss(Duration at_most) {
  dismissing_ = true;
  review(at_most);
}

// Within the first half of `at_most`: the other half is for the goodbye.
void Rehoming::schedule(Exchange& exchange, Duration at_most) {
  if (rules_.mode == "never") return;
  const Duration after = std::min<Duration>(rules_.after, at_most / 8);
  const Duration window = std::min<Duration>(rules_.window, at_most / 2 - after);
  const double place = static_cast<double>(ids_.next() >> 11) * 0x1p-53;  // 0 to 1
  Mono& due = streams_[&exchange];
  due = loop_.now() + after + std::chrono::duration_cast<Duration>(window * place);
  due_.emplace(due, &exchange);
  rearm();
}

void Rehoming::unschedule(Exchange& exchange) {
  const auto found = streams_.find(&exchange);
  if (found == streams_.end()) return;
  due_.erase({found->second, &exchange});
  found->second = io::kNever;
}

void Rehoming::rearm() {
  if (!due_.empty()) arm(due_.begin()->first);
}

void Rehoming::on_expired() {
  while (!due_.empty() && due_.begin()->first <= loop_.now()) {
    Exchange& exchange = *due_.begin()->second;
    due_.erase(due_.begin());
    streams_.erase(&exchange);  // it is told once
    ++count_;
    exchange.leave(rules_.close_code);
  }
  rearm();
}

}  // namespace banyan::gateway
