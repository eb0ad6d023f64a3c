#include "planes/gateway/exchange.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/gateway/cohort.h"
#include "planes/gateway/grpc.h"
#include "planes/gateway/rewrite.h"
#include "wire/http/path.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kRequestIdMax = 200;
constexpr Duration kReplyTime = 10s;
constexpr std::size_t kReadWhileHeld = 64 * 1024;  // at once

// The Host of a head as write_upstream_head writes it: always its second line.
std::string_view authority_of(std::string_view head) {
  constexpr std::string_view kHost = "\r\nhost: ";
  const std::size_t at = head.find(kHost) + kHost.size();
  return head.substr(at, head.find("\r\n", at) - at);
}

std::string_view query_of(std::string_view target) {
  const std::size_t question = target.find('?');
  return question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
}

}  // namespace

Exchange::Exchange(Worker& worker, Client& client, const http::Head& head)
    : worker_(worker),
      client_(client),
      routing_(worker_.routing()),
      method_(head.method),
      host_(host_without_port(head.authority)),
      target_(head.target),
      trace_(http::trace_for(head, worker_.ids())),
      answers_(head.method == "HEAD" ? http::Answers::kHead : http::Answers::kOther),
      framing_(head.framing),
      is_upgrade_(head.is_upgrade),
      desync_(http::judge(head.oddities)),
      started_(worker_.clock().now()),
      changed_(worker_.loop()) {
  if (const auto path = http::normal_path(head.path, worker_.path_scratch())) path_ = *path;
  const http::Field* const id = head.find(http::FieldId::kRequestId);
  if (id != nullptr && id->value.size() <= kRequestIdMax) request_id_ = id->value;
  const http::Field* const type = head.find(http::FieldId::kContentType);
  is_grpc_ = type != nullptr && type->value.starts_with("application/grpc");
  const http::Field* const patience = is_grpc_ ? head.find("grpc-timeout") : nullptr;
  if (patience != nullptr) grpc_timeout_ = grpc_timeout(patience->value);
  if (routing_->snapshot.tracing) begin_trace(head);
  write_request_head(head);
}

void Exchange::begin_trace(const http::Head& head) {
  if (!decide_sampling(head, routing_->snapshot.tracing->sample_percent, trace_)) return;
  spans_ = std::make_unique<RequestTrace>(trace_, parent_span(head, trace_), worker_.clock());
}

void Exchange::finish_trace() {
  const std::string reason = full_reason();
  const RequestTrace::Request request{
      .method = method_,
      .scheme = client_.scheme(),
      .host = host_,
      .path = std::string_view(target_).substr(0, target_.find('?'))};
  const RequestTrace::End end{
      .status = status_,
      .route = route_ != nullptr ? std::string_view(route_->spec.path) : std::string_view(),
      .problem = reason};
  spans_->finish(request, end, worker_.traces());
}

void Exchange::write_request_head(const http::Head& head) {
  http::UpstreamRewrite rewrite;
  rewrite.client_ip = client_.ip();
  rewrite.scheme = client_.scheme();
  rewrite.more = client_.certificate_lines();
  rewrite.trace = &trace_;
  if (head.authority.empty() && routing_->snapshot.public_host)
    rewrite.host_if_none = *routing_->snapshot.public_host;
  request_head_.resize(http::upstream_head_bytes_max(head, rewrite));
  request_head_.resize(http::write_upstream_head(head, rewrite, request_head_.data()));
}

bool Exchange::is_safe() const {
  return method_ == "GET" || method_ == "HEAD" || method_ == "OPTIONS" || method_ == "TRACE";
}

void Exchange::cancel() {
  client_gone_ = true;
  changed_.set();
  if (attempt_ != nullptr) {
    attempt_->cancel();
  } else if (upstream_) {
    upstream_->cancel();
  }
}

io::Task<Answered> Exchange::run() {
  const Answered answered = co_await answer();
  if (is_stream_) worker_.rehoming().delist(*this);
  route_place_.leave();
  place_.leave();
  pass_.leave();
  record();
  if (spans_ != nullptr) finish_trace();
  co_return answered;
}

io::Task<Answered> Exchange::answer() {
  const bool found = !path_.empty() && find_route();
  if (const auto problem = desync_problem()) co_return co_await reply(*problem);
  if (path_.empty()) co_return co_await reply({400, "the path is malformed"});
  if (!found) co_return co_await reply({404, "nothing is published at this address"});
  if (const auto problem = over_rate()) co_return co_await reply(*problem);
  if (answers_itself()) co_return co_await answer_by_rule();
  if (!client_.incoming().done) first_body_ = client_.take_received();
  if (const auto problem = body_problem()) co_return co_await reply(*problem);
  Entry entry = enter();
  if (entry == Entry::kQueued) entry = co_await wait_in_queue();
  if (entry == Entry::kGone) co_return Answered::kNotFully;
  if (entry == Entry::kRefused) {
    const Problem problem{503, "the service is being moved and is busy; try again shortly",
                          std::max(1, refusal_.retry_after_s)};
    co_return co_await reply(problem);
  }
  co_return co_await forward();
}

// By the snapshot now in force.
bool Exchange::find_route() {
  routing_ = worker_.routing();
  route_ = routing_->table.match(facts(routing_->table.has_conditions()));
  if (route_ != nullptr) choose_backend();
  return route_ != nullptr;
}

// The fields come from the head that is kept for sending; valid until the coroutine suspends.
RequestFacts Exchange::facts(bool with_fields) {
  RequestFacts out{.method = method_, .host = host_, .path = path_};
  if (!with_fields) return out;
  out.query = query_of(target_);
  out.client_ip = client_.ip();
  const http::Parsed parsed = http::parse_request(request_head_, worker_.head());
  if (parsed.outcome == http::Outcome::kComplete) out.fields = worker_.head().fields();
  return out;
}

void Exchange::choose_backend() {
  backend_ = plan().backend;
  if (plan().targets.empty()) return;
  const spec::RouteRules& rules = route_->spec.rules;
  const std::size_t side = rules.sticky ? side_of(rules.weights, rules.sticky->salt,
                                                  client_key(*rules.sticky, facts(true)))
                                        : random_side(rules.weights, worker_.ids());
  backend_ = plan().targets[side];
}

std::int64_t Exchange::retries_max() const {
  return route_->spec.rules.retry.attempts.value_or(static_cast<int>(limits().retries));
}

std::int64_t Exchange::body_bytes_max() const {
  const std::int64_t own = route_->spec.rules.limits.body_bytes;
  return own != 0 ? own : limits().body_bytes;
}

// Of the next try: its own bound, and what the tries before it left.
Duration Exchange::response_time() const {
  const spec::RouteRules& rules = route_->spec.rules;
  Duration out = rules.retry.per_try_timeout.value_or(rules.timeout.value_or(limits().response_ms));
  if (rules.timeout) {
    const Duration left = *rules.timeout - (worker_.clock().now() - started_ - held_);
    out = std::clamp<Duration>(left, 1ms, out);
  }
  if (grpc_timeout_)
    out = std::clamp<Duration>(*grpc_timeout_ - (worker_.clock().now() - started_), 1ms, out);
  return out;
}

// Refuses, or makes sure that nothing follows on the connections the request comes and goes by.
std::optional<Exchange::Problem> Exchange::desync_problem() {
  const bool has_own = route_ != nullptr && route_->spec.rules.desync != "gateway";
  const std::string& mode = has_own ? route_->spec.rules.desync : routing_->snapshot.desync;
  if (mode == "strictest") client_.refuse_extensions();
  if (desync_.level == http::Desync::kCompliant) return std::nullopt;
  const bool is_ambiguous = desync_.level == http::Desync::kAmbiguous;
  if (mode == "monitor" || (mode == "defensive" && !is_ambiguous)) return std::nullopt;
  client_.end_after_answer();
  if (mode == "strictest") return Problem{400, desync_.shape};
  reuses_upstream_ = false;
  if (!is_upgrade_) request_head_.insert(request_head_.size() - 2, "connection: close\r\n");
  return std::nullopt;
}

std::optional<Exchange::Problem> Exchange::body_problem() const {
  const BodyProgress& body = client_.incoming();
  if (body.malformed) return problem_of(AttemptEnd::kBodyMalformed);
  const auto most = static_cast<std::uint64_t>(body_bytes_max());
  if (most != 0 && (body.bytes > most || body.bytes_left > most))
    return problem_of(AttemptEnd::kBodyTooLarge);
  return std::nullopt;
}

io::Task<Answered> Exchange::reply(Problem problem) {
  reason_ = problem.text;
  worker_.metrics().count_own_reply(problem.status);
  const std::string text =
      fmt::format("{} {}: {}\n", problem.status, http::reason_phrase(problem.status), problem.text);
  co_return co_await send_own({.status = problem.status,
                               .text = is_grpc_ ? std::string_view(problem.text) : text,
                               .retry_after_s = problem.retry_after_s,
                               .grpc_status = is_grpc_ ? grpc_status_of(problem.status) : 0});
}

// What the route's redirect or fixed response says.
io::Task<Answered> Exchange::answer_by_rule() {
  const spec::RouteRules& rules = route_->spec.rules;
  if (rules.respond && rules.respond->grpc_health) co_return co_await answer_health();
  std::string fields;
  if (rules.redirect) {
    fields =
        "location: " + expanded_location(rules.redirect->location, route_->spec, facts(false),
                                         client_.scheme(), authority_of(request_head_), target_);
    fields += "\r\n";
  }
  for (const spec::NameValue& field : rules.headers.response.set)
    fields += field.name + ": " + field.value + "\r\n";
  for (const spec::NameValue& field : rules.headers.response.add)
    fields += field.name + ": " + field.value + "\r\n";
  const spec::Respond* const respond =
      rules.respond
          ? &*rules.respond
          : (rules.fallback && rules.fallback->respond ? &*rules.fallback->respond : nullptr);
  OwnAnswer answer{.status = rules.redirect ? rules.redirect->status : 503, .fields = fields};
  if (!rules.redirect && respond != nullptr) {
    answer.status = respond->status;
    answer.text = respond->body;
    answer.type = respond->type;
  }
  co_return co_await send_own(answer);
}

io::Task<Answered> Exchange::send_own(OwnAnswer answer) {
  status_ = answer.status;
  bytes_out_ += answer.text.size();
  const io::IoResult sent = co_await client_.reply(answer, after(kReplyTime));
  co_return sent.ok() ? Answered::kFully : Answered::kNotFully;
}

// For the log and the trace; the client is told less.
std::string Exchange::full_reason() const {
  const bool adds = *reason_ != '\0' && !unreachable_.empty();
  return adds ? fmt::format("{} ({})", reason_, unreachable_) : reason_;
}

void Exchange::record() {
  if (client_.incoming().has_extensions && desync_.level == http::Desync::kCompliant)
    desync_ = http::judge(http::kChunkExtension);
  const Duration took = worker_.clock().now() - started_;
  const std::string_view route = route_ != nullptr ? std::string_view(route_->spec.id) : "";
  const std::uint64_t bytes_in = client_.incoming().bytes;
  GatewayMetrics& metrics = worker_.metrics();
  RouteMetrics& counted = metrics.count_request(route, status_, took);
  counted.bytes_in += bytes_in;
  counted.bytes_out += bytes_out_;
  metrics.count_desync(desync_.level);
  if (held_ > Duration::zero()) metrics.held.record(held_);
  if (!worker_.logs_requests()) return;
  const std::string reason = full_reason();
  worker_.log_request({.client = client_.ip(),
                       .method = method_,
                       .host = host_,
                       .target = target_,
                       .route = route,
                       .upstream = upstream_address_,
                       .trace = trace_.trace(),
                       .id = request_id_,
                       .reason = reason,
                       .desync = desync_,
                       .status = status_,
                       .bytes_in = bytes_in,
                       .bytes_out = bytes_out_,
                       .retries = retries_,
                       .took = took,
                       .held = held_,
                       .first_byte = first_byte_});
}

// ---- the gate

Exchange::Entry Exchange::enter() {
  Entrance entrance = worker_.hold().admit(
      route_->index, {.kind = is_safe() && !is_upgrade_ ? PassKind::kRead : PassKind::kWrite,
                      .head_bytes = std::ssize(request_head_),
                      .body_bytes = std::ssize(first_body_),
                      .client = client_.ip()});
  if (Pass* const pass = std::get_if<Pass>(&entrance)) {
    pass_ = std::move(*pass);
    return Entry::kInside;
  }
  if (const HoldRefusal* const refusal = std::get_if<HoldRefusal>(&entrance)) {
    refusal_ = *refusal;
    return Entry::kRefused;
  }
  ticket_ = std::move(std::get<std::unique_ptr<Ticket>>(entrance));
  return Entry::kQueued;
}

io::Task<Exchange::Entry> Exchange::wait_in_queue() {
  ticket_->on_ready = [this](Admission admission) {
    admission_ = std::move(admission);
    changed_.set();
    client_.stop_reading();
  };
  const Mono since = ticket_->since();
  worker_.rearm_hold();
  client_.set_observer(this);
  bool present = true;
  while (present && !admission_) present = co_await wait_for_change();
  client_.set_observer(nullptr);
  held_ = worker_.clock().now() - since;
  // A client that has gone leaves without being sent: destroying the ticket, or the pass, says so.
  ticket_.reset();
  if (!present || client_gone_ || client_.is_gone()) co_return Entry::kGone;
  if (const HoldRefusal* const refusal = std::get_if<HoldRefusal>(&*admission_)) {
    refusal_ = *refusal;
    co_return Entry::kRefused;
  }
  pass_ = std::move(std::get<Pass>(*admission_));
  co_return Entry::kInside;
}

// False when the client has gone.
io::Task<bool> Exchange::wait_for_change() {
  if (client_gone_ || client_.is_gone()) co_return false;
  if (!co_await client_.probe(after(kReplyTime))) co_return false;
  if (admission_) co_return true;
  if (!client_.incoming().done && ticket_->room() > 0) co_return co_await read_while_held();
  changed_.reset();
  if (!admission_) (void)co_await changed_.wait();  // the ticket has its own deadline
  co_return !client_gone_ && !client_.is_gone();
}

// Without a least rate: how fast it comes does not matter while it could not go on anyway.
io::Task<bool> Exchange::read_while_held() {
  if (client_.awaits_continue()) {
    const io::IoResult sent = co_await client_.send_continue(after(kReplyTime));
    if (!sent.ok()) co_return false;
    if (admission_ || ticket_->room() == 0) co_return true;
  }
  const auto most = std::min(kReadWhileHeld, static_cast<std::size_t>(ticket_->room()));
  const BodyPiece got = co_await client_.read_body(most, io::kNever);
  if (got.status == io::IoStatus::kCancelled) co_return admission_.has_value();
  if (!got.ok() && !client_.incoming().done) co_return false;
  first_body_ += got.bytes;
  ticket_->keep(std::ssize(got.bytes));
  co_return true;
}

void Exchange::on_client_activity() {
  if (client_.is_gone()) client_gone_ = true;
  changed_.set();
}

// ---- forwarding

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

Exchange::Problem Exchange::problem_of(AttemptEnd end) {
  switch (end) {
    case AttemptEnd::kNoRoute:
      return {404, "nothing is published at this address"};
    case AttemptEnd::kNoPlace:
      return {503, "the service is at its limit; try again shortly", 1};
    case AttemptEnd::kNoEndpoint:
      return {503, "no instance of the service is available; try again shortly", 1};
    case AttemptEnd::kUnreachable:
      return {502, "the service cannot be reached; try again shortly"};
    case AttemptEnd::kDied:
      return {502, "the service closed the connection without an answer"};
    case AttemptEnd::kLate:
      return {504, "the service did not answer in time"};
    case AttemptEnd::kBodyMalformed:
      return {400, "the body's chunks are malformed"};
    case AttemptEnd::kBodyTooLarge:
      return {413, "the body is larger than this service accepts"};
    case AttemptEnd::kBodyLate:
      return {408, "the body did not arrive in time"};
    default:
      return {502, "the service gave an answer that is not valid HTTP"};
  }
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
                           .response_time = response_time(),
                           .body_bytes_max = body_bytes_max(),
                           .edits = plan().edits_response ? &route_->spec : nullptr,
                           .authority = authority_of(request_head_),
                           .declines = decliner(),
                           .owner = *this};
  declined_ = false;
  unreachable_.clear();
  Attempt attempt(order, *upstream_);
  attempt_ = &attempt;
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
