// Exchange, the part that waits its turn: rates, places, the budget of retries.

#include <algorithm>

#include "planes/gateway/cohort.h"
#include "planes/gateway/exchange.h"

namespace banyan::gateway {
namespace {

constexpr Duration kRetryAfterMost = 10s;  // a longer wait is the client's

}  // namespace

Duration Exchange::rate_wait(const spec::RateLimit& rate) {
  const auto key = client_key({.by = rate.by, .name = rate.name, .salt = {}}, facts(true));
  const std::string client =
      route_->spec.id + '\n' + (key ? *key : client_key({}, facts(true)).value_or(""));
  const double burst = rate.burst > 0 ? rate.burst : rate.per_second;
  const Rate allowed{.per_second = static_cast<double>(rate.per_second), .burst = burst};
  return worker_.client_rates().take(client, allowed, worker_.clock().now());
}

std::optional<Exchange::Problem> Exchange::over_rate() {
  Duration wait{};
  const LimitsSpec& all = limits();
  if (all.client_requests_per_s > 0) {
    const auto scope = all.shared ? ClientRates::Scope::kShared : ClientRates::Scope::kProcess;
    wait = worker_.client_rates().take(client_key({}, facts(true)).value_or(""), client_rate(all),
                                       worker_.clock().now(), scope);
  }
  const auto& rate = route_->spec.rules.limits.rate;
  if (wait == Duration::zero() && rate) wait = rate_wait(*rate);
  if (wait == Duration::zero()) return std::nullopt;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  return Problem{429, "more requests than this service accepts from one client",
                 static_cast<int>(std::min<std::int64_t>(seconds, 3600))};
}

Priority Exchange::priority() const {
  const std::string& name = route_->spec.rules.priority;
  if (name == "high") return Priority::kHigh;
  return name == "low" ? Priority::kLow : Priority::kNormal;
}

// A connection that was closed for idleness is no sign of trouble; other retries have a budget.
bool Exchange::takes_retry() {
  if (again_ != nullptr || retry_token_) return true;
  if (at_ == nullptr) return false;
  const std::int64_t load = at_->places.inside() + at_->places.waiting();
  retry_token_ = at_->retries.take(at_->traffic().retry_budget, load);
  return static_cast<bool>(retry_token_);
}

// Of the route's own time, after a pause.
bool Exchange::has_time(Duration pause) const {
  const auto& timeout = route_->spec.rules.timeout;
  return !timeout || worker_.clock().now() - started_ - held_ + pause < *timeout;
}

// Only a route that names statuses looks at answers.
AttemptOrder::Declines Exchange::decliner() {
  if (plan().retry.statuses.empty()) return {};
  return [this](int status, Duration retry_after) { return declines(status, retry_after); };
}

bool Exchange::declines(int status, Duration retry_after) {
  const auto names = [&](const spec::StatusRange& range) { return range.contains(status); };
  const bool is_whole = client_.incoming().done && !body_went_by_ && !attempt_->began_upload();
  if (!std::ranges::any_of(plan().retry.statuses, names) || retries_ >= retries_max() ||
      !may_be_repeated() || !is_whole)
    return false;
  if (retry_after > kRetryAfterMost || !has_time(retry_after) || !takes_retry()) return false;
  retry_after_ = retry_after;
  declined_ = true;
  return true;
}

// False when the client has gone. Another endpoint is asked at once when one cannot be reached.
io::Task<bool> Exchange::back_off(AttemptEnd end) {
  const bool at_once = again_ != nullptr || (end == AttemptEnd::kUnreachable && retries_ == 1);
  if (at_once || at_ == nullptr) co_return true;
  const Duration base = route_->spec.rules.retry.backoff.value_or(at_->traffic().backoff);
  const Duration wait = std::max(std::exchange(retry_after_, Duration::zero()),
                                 backoff(base, static_cast<int>(retries_) - 1, worker_.ids()));
  co_return wait == Duration::zero() || co_await pause(after(wait), nullptr);
}

// Until the time, or until the place waits no longer. False when the client has gone.
io::Task<bool> Exchange::pause(Mono until, const PlaceQueue::Place* place) {
  client_.set_observer(this);
  while (!client_gone_ && worker_.loop().now() < until) {
    if (!co_await client_.probe(after(kReplyTime)) || client_.is_gone()) client_gone_ = true;
    const bool is_over = place != nullptr && place->state() != PlaceQueue::State::kWaiting;
    if (is_over || client_gone_) break;
    changed_.reset();
    (void)co_await changed_.wait(until);
  }
  client_.set_observer(nullptr);
  co_return !client_gone_ && !client_.is_gone();
}

// By the snapshot now in force. kAnswered: inside; the place is kept over retries at one backend.
AttemptEnd Exchange::enter_backend() {
  if (routing_ != worker_.routing() && !find_route()) return AttemptEnd::kNoRoute;
  if (answers_itself()) return AttemptEnd::kOwnAnswer;
  Backend& backend = worker_.backend(backend_);
  if (at_ == &backend && place_.state() == PlaceQueue::State::kInside) return AttemptEnd::kAnswered;
  place_.leave();
  again_ = nullptr;  // of the backend before
  at_ = &backend;
  const PlaceQueue::State state = at_->places.enter(place_, priority());
  return state == PlaceQueue::State::kInside ? AttemptEnd::kAnswered : AttemptEnd::kNoPlace;
}

io::Task<AttemptEnd> Exchange::wait_for_place() {
  AttemptEnd entered = AttemptEnd::kNoPlace;
  while (place_.state() == PlaceQueue::State::kWaiting) {
    place_.on_change = [this] { changed_.set(); };
    const bool present = co_await pause(after(at_->traffic().limits.wait), &place_);
    place_.on_change = nullptr;
    if (!present) co_return AttemptEnd::kClientGone;
    if (place_.state() != PlaceQueue::State::kInside) {
      place_.leave();
      co_return AttemptEnd::kNoPlace;
    }
    entered = enter_backend();  // the snapshot may be another one by now
  }
  co_return entered;
}

std::uint64_t Exchange::hash_key() {
  if (!at_->hashes()) return 0;
  const auto key = client_key(at_->traffic().hash, facts(true));
  return key ? balance_key(*key) : 0;
}

}  // namespace banyan::gateway
