#include "planes/gateway/rehoming.h"

#include <algorithm>

#include "planes/gateway/exchange.h"

namespace banyan::gateway {
namespace {

constexpr Duration kAskAgain = 50ms;

}  // namespace

void Rehoming::enlist(Exchange& exchange) {
  const auto [entry, is_new] = streams_.emplace(&exchange, io::kNever);
  if (!is_new) unschedule(exchange);
  if (!may_stay(exchange)) schedule(exchange, Duration::max());
}

void Rehoming::delist(Exchange& exchange) {
  unschedule(exchange);
  streams_.erase(&exchange);
}

bool Rehoming::may_stay(Exchange& exchange) const {
  return rules_.mode == "never" || (!dismissing_ && exchange.is_at_home());
}

void Rehoming::review(Duration at_most) {
  for (auto& [exchange, due] : streams_) {
    const bool stays = may_stay(*exchange);
    if (stays && due != io::kNever) {
      unschedule(*exchange);
      exchange->carry_on();
    }
    if (!stays && due == io::kNever) schedule(*exchange, at_most);
  }
}

void Rehoming::dismiss(Duration at_most) {
  dismissing_ = true;
  review(at_most);
}

// Within the first half of `at_most`: the other half is for the goodbye. A call that ends by itself
// by then need not be ended.
void Rehoming::schedule(Exchange& exchange, Duration at_most) {
  const bool waits = at_most != Duration::max() && exchange.is_grpc_call();
  const Duration after = waits ? at_most / 8 * 3 : std::min<Duration>(rules_.after, at_most / 8);
  const Duration window = std::min<Duration>(rules_.window, at_most / 2 - after);
  const double place = static_cast<double>(ids_.next() >> 11) * 0x1p-53;  // 0 to 1
  put(exchange, loop_.now() + after + std::chrono::duration_cast<Duration>(window * place));
}

void Rehoming::put(Exchange& exchange, Mono due) {
  streams_[&exchange] = due;
  due_.emplace(due, &exchange);
  rearm();
}

void Rehoming::unschedule(Exchange& exchange) {
  const auto found = streams_.find(&exchange);
  if (found == streams_.end()) return;
  due_.erase({found->second, &exchange});
  found->second = io::kNever;
}

void Rehoming::hurry(Exchange& exchange) {
  if (!streams_.contains(&exchange)) return;  // it has been told
  unschedule(exchange);
  put(exchange, loop_.now());
}

void Rehoming::rearm() {
  if (!due_.empty()) arm(due_.begin()->first);
}

void Rehoming::on_expired() {
  while (!due_.empty() && due_.begin()->first <= loop_.now()) {
    Exchange& exchange = *due_.begin()->second;
    due_.erase(due_.begin());
    if (!exchange.leave(rules_.close_code)) {
      put(exchange, loop_.now() + kAskAgain);
      continue;
    }
    streams_.erase(&exchange);  // it is told once
    ++count_;
  }
  rearm();
}

}  // namespace banyan::gateway
