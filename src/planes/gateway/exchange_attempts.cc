// Exchange, towards the endpoints: one attempt after another until there is an answer.

#include <algorithm>

#include "planes/gateway/exchange.h"
#include "planes/gateway/rewrite.h"

namespace banyan::gateway {

io::Task<Answered> Exchange::forward() {
  route_load_ = routing_ == worker_.routing() ? worker_.route_load(route_->index) : nullptr;
  if (route_load_ != nullptr &&
      route_load_->places.enter(route_place_, priority()) != PlaceQueue::State::kInside)
    co_return co_await reply(problem_of(AttemptEnd::kNoPlace));
  while (true) {
    const AttemptEnd end = co_await attempt();
    if (end == AttemptEnd::kAnswered) co_return Answered::kFully;
    if (end == AttemptEnd::kClientGone || end == AttemptEnd::kCutOff) co_return Answered::kNotFully;
    if (end == AttemptEnd::kOwnAnswer) co_return co_await answer_by_rule();
    if (!may_try_again(end) || !takes_retry()) {
      if (!fall_back(end)) co_return co_await reply(problem_of(end));
      if (answers_itself()) co_return co_await answer_by_rule();
      continue;
    }
    ++retries_;
    ++worker_.metrics().retries;
    if (!co_await back_off(end)) co_return Answered::kNotFully;
  }
}

bool Exchange::may_try_again(AttemptEnd end) {
  if (retries_ >= retries_max() || body_went_by_) return false;
  const RetryReasons& on = plan().retry;
  if (end == AttemptEnd::kDeclined) return true;
  if (end == AttemptEnd::kUnreachable) return on.connect;
  if (end == AttemptEnd::kLate) return on.timeout && repeatable_ && has_time(Duration::zero());
  // A connection that was closed for idleness is no sign of trouble.
  return end == AttemptEnd::kDied && repeatable_ && (on.reset || again_ != nullptr);
}

// The service gave no answer: the route's fallback does, once. Another service gets the request
// only where that cannot do it twice.
bool Exchange::fall_back(AttemptEnd end) {
  const auto& fallback = route_->spec.rules.fallback;
  const bool service_failed = end == AttemptEnd::kNoEndpoint || end == AttemptEnd::kNoPlace ||
                              end == AttemptEnd::kUnreachable || end == AttemptEnd::kDied ||
                              end == AttemptEnd::kLate || end == AttemptEnd::kBadResponse;
  if (!fallback || !service_failed || answers_itself()) return false;
  if (fallback->respond) {
    backend_ = kNoBackend;
    return true;
  }
  const bool was_sent = end != AttemptEnd::kNoEndpoint && end != AttemptEnd::kNoPlace &&
                        end != AttemptEnd::kUnreachable;
  if (backend_ == plan().fallback || body_went_by_ || (was_sent && !is_safe())) return false;
  backend_ = plan().fallback;
  tried_.clear();
  retries_ = 0;
  ++worker_.metrics().fallbacks;
  return true;
}

io::Task<AttemptEnd> Exchange::attempt() {
  AttemptEnd entered = enter_backend();
  if (place_.state() == PlaceQueue::State::kWaiting) entered = co_await wait_for_place();
  if (entered != AttemptEnd::kAnswered) co_return entered;
  const bool fresh = again_ != nullptr;  // on a new connection
  Endpoint* const endpoint = next_endpoint();
  if (endpoint == nullptr) co_return AttemptEnd::kNoEndpoint;
  const bool asked_before = std::ranges::find(tried_, endpoint) != tried_.end();
  if (!fresh && asked_before && !std::exchange(declined_, false)) {
    retries_ = retries_max();  // nobody else to ask
    co_return AttemptEnd::kUnreachable;
  }
  const EndpointUse use(*endpoint);
  upstream_address_ = endpoint->address();
  if (spans_ != nullptr) spans_->begin_attempt(request_head_, worker_.ids());
  upstream_ = fresh ? nullptr : reuse(*endpoint);
  if (!upstream_ && !co_await connect(*endpoint)) {
    if (spans_ != nullptr) spans_->end_attempt(0, endpoint->address());
    tried_.push_back(endpoint);
    if (!client_gone_) at_->note_failure(*endpoint, worker_.loop().now());
    co_return client_gone_ ? AttemptEnd::kClientGone : AttemptEnd::kUnreachable;
  }
  ++endpoint->requests;
  co_return co_await converse(*endpoint);
}

Endpoint* Exchange::next_endpoint() {
  if (again_ != nullptr) return std::exchange(again_, nullptr);
  return at_->pick(tried_, hash_key(), worker_.ids(), worker_.loop().now());
}

io::Task<AttemptEnd> Exchange::converse(Endpoint& endpoint) {
  const bool edits = plan().edits_request;
  if (edits) edited_head_ = edited_request_head(request_head_, route_->spec, path_);
  const AttemptOrder order{.worker = worker_,
                           .client = client_,
                           .limits = limits(),
                           .request = {.head = edits ? edited_head_ : request_head_,
                                       .form = client_.incoming().form,
                                       .framing = framing_,
                                       .answers = answers_},
                           .first_body = first_body_,
                           .is_upgrade = is_upgrade_,
                           .is_grpc = is_grpc_call_,
                           .response_time = response_time(),
                           .response_until = response_until(),
                           .body_bytes_max = body_bytes_max(),
                           .edits = plan().edits_response ? &route_->spec : nullptr,
                           .authority = authority(),
                           .declines = decliner(),
                           .owner = *this};
  declined_ = false;
  unreachable_.clear();
  Attempt attempt(order, *upstream_);
  attempt_ = &attempt;
  if (is_grpc_call_) enlist();
  const AttemptEnd end = co_await attempt.run();
  attempt_ = nullptr;
  status_ = attempt.status();
  if (spans_ != nullptr) spans_->end_attempt(status_, endpoint.address());
  if (status_ != 0) first_byte_ = attempt.answered_at() - started_;
  bytes_out_ = attempt.bytes_out();
  body_went_by_ |= attempt.began_upload();
  const Mono now = worker_.loop().now();
  if (status_ != 0)
    at_->note_answer(endpoint, {status_, attempt.took(), attempt.retry_after()}, now);
  if (status_ != 0 && route_load_ != nullptr) route_load_->note_answer(attempt.took());
  if (end == AttemptEnd::kDied && !upstream_->is_reused() && !upstream_->is_unprocessed())
    at_->note_failure(endpoint, now);
  if (end == AttemptEnd::kLate) at_->note_failure(endpoint, now);
  const bool gave_none = end == AttemptEnd::kDied || end == AttemptEnd::kLate;
  if (gave_none) choose_repeat(endpoint, attempt, end);
  if (end == AttemptEnd::kDeclined) tried_.push_back(&endpoint);
  if (reuses_upstream_ && attempt.is_reusable()) endpoint.give_back(std::move(upstream_));
  upstream_.reset();
  co_return end;
}

// A reused connection may just have been closed for idleness, and one that refused the request is
// alive: the same endpoint is asked once more. A fresh one that died takes its endpoint with it:
// another one is asked.
void Exchange::choose_repeat(Endpoint& endpoint, const Attempt& attempt, AttemptEnd end) {
  repeatable_ = attempt.sent_nothing() || (may_be_repeated() && client_.incoming().done);
  const bool is_alive = upstream_->is_reused() || upstream_->is_unprocessed();
  if (end == AttemptEnd::kDied && is_alive && repeatable_ && !endpoint.retired) {
    again_ = &endpoint;
  } else {
    tried_.push_back(&endpoint);
  }
}

// For a request that could not be repeated, the kernel is asked whether the connection still lives.
std::unique_ptr<Upstream> Exchange::reuse(Endpoint& endpoint) const {
  std::unique_ptr<Upstream> upstream = endpoint.take_idle();
  while (upstream != nullptr && !is_safe() && !upstream->is_quiet())
    upstream = endpoint.take_idle();
  if (upstream != nullptr) ++worker_.metrics().upstream_reuses;
  return upstream;
}

io::Task<bool> Exchange::connect(Endpoint& endpoint) {
  GatewayMetrics& metrics = worker_.metrics();
  const Mono begin = worker_.clock().now();
  Result<std::unique_ptr<Upstream>> connected =
      co_await endpoint.connect(after(limits().connect_ms));
  ++metrics.upstream_connects;
  if (!connected) {
    ++metrics.upstream_connect_failures;
    unreachable_ = connected.error().message();
    co_return false;
  }
  metrics.upstream_connect.record(worker_.clock().now() - begin);
  upstream_ = *std::move(connected);
  co_return !client_gone_;
}

}  // namespace banyan::gateway
