#include "planes/gateway/exchange.h"

#include <algorithm>

#include "planes/gateway/cohort.h"
#include "planes/gateway/grpc.h"
#include "wire/http/path.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kRequestIdMax = 200;

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
      is_final_recipient_(http::forwards_left(head) == 0U),
      desync_(http::judge(head.oddities)),
      started_(worker_.clock().now()),
      changed_(worker_.loop()) {
  if (const auto path = http::normal_path(head.path, worker_.path_scratch())) path_ = *path;
  const http::Field* const id = head.find(http::FieldId::kRequestId);
  if (id != nullptr && id->value.size() <= kRequestIdMax) request_id_ = id->value;
  const http::Field* const type = head.find(http::FieldId::kContentType);
  is_grpc_ = type != nullptr && type->value.starts_with("application/grpc");
  is_grpc_call_ = is_grpc_ && is_grpc_type(type->value);
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

// As write_upstream_head writes it: always the second line.
std::string_view Exchange::authority() const {
  constexpr std::string_view kHost = "\r\nhost: ";
  const std::string_view head = request_head_;
  const std::size_t at = head.find(kHost) + kHost.size();
  return head.substr(at, head.find("\r\n", at) - at);
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
  if (enlisted_) worker_.rehoming().delist(*this);
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
  if (is_final_recipient_) co_return co_await answer_as_final_recipient();
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
  if (entry == Entry::kLate)
    co_return co_await reply(
        {504, "the service is being moved and the call's deadline has passed"});
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

// Of all tries together.
Mono Exchange::response_until() const {
  const auto& timeout = route_->spec.rules.timeout;
  return std::min(patient_until(), timeout ? started_ + held_ + *timeout : io::kNever);
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

}  // namespace banyan::gateway
