#include "planes/gateway/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "wire/http/path.h"

namespace banyan::gateway {
namespace {

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr Duration kReplyTime = 10s;
constexpr std::size_t kHeadRead = 64 * 1024;  // at most copied while a response head is read
constexpr int kTurnsBeforeYield = 8;          // of up to 256 KB each

}  // namespace

Exchange::Exchange(Session& session, const http::Head& head)
    : session_(session),
      worker_(session.worker_),
      client_(session.client_),
      routing_(worker_.routing()),
      method_(head.method),
      host_(host_without_port(head.authority)),
      target_(head.target),
      request_body_(head),
      trace_(http::trace_for(head, worker_.ids())),
      answers_(head.method == "HEAD" ? http::Answers::kHead : http::Answers::kOther),
      client_minor_version_(head.minor_version),
      client_keep_alive_(head.keep_alive),
      is_upgrade_(head.is_upgrade),
      awaits_continue_(head.expects_continue && head.minor_version >= 1),
      started_(worker_.clock().now()),
      changed_(worker_.loop()),
      upload_done_(worker_.loop()) {
  if (const auto path = http::normal_path(head.path, worker_.path_scratch())) path_ = *path;
  write_request_head(head);
}

void Exchange::write_request_head(const http::Head& head) {
  http::UpstreamRewrite rewrite;
  rewrite.client_ip = session_.client_ip_;
  rewrite.trace = &trace_;
  request_head_.resize(http::upstream_head_bytes_max(head, rewrite));
  request_head_.resize(http::write_upstream_head(head, rewrite, request_head_.data()));
}

bool Exchange::is_safe() const {
  return method_ == "GET" || method_ == "HEAD" || method_ == "OPTIONS" || method_ == "TRACE";
}

void Exchange::cancel() {
  client_gone_ = true;
  changed_.set();
  if (upstream_) upstream_->socket.cancel();
}

io::Task<Fate> Exchange::run() {
  const Fate fate = co_await answer();
  pass_.leave();
  record();
  co_return fate;
}

io::Task<Fate> Exchange::answer() {
  if (path_.empty()) co_return co_await reply({400, "the path is malformed"});
  if (!find_route()) co_return co_await reply({404, "nothing is published at this address"});
  take_first_body();
  if (const auto problem = body_problem()) co_return co_await reply(*problem);
  const Entry entry = co_await enter();
  if (entry == Entry::kGone) co_return Fate::kClose;
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
  route_ = routing_->table.match(method_, host_, path_);
  return route_ != nullptr;
}

void Exchange::take_first_body() {
  if (request_body_.done()) return;
  std::string& inbox = session_.inbox_;
  const std::size_t taken = request_body_.take(inbox);
  first_body_.append(inbox, 0, taken);
  inbox.erase(0, taken);
}

std::optional<Exchange::Problem> Exchange::body_problem() const {
  if (request_body_.malformed()) return Problem{400, "the body's chunks are malformed"};
  const auto most = static_cast<std::uint64_t>(limits().body_bytes);
  if (most != 0 && (request_body_.bytes() > most || request_body_.bytes_left() > most))
    return Problem{413, "the body is larger than this service accepts"};
  return std::nullopt;
}

io::Task<Fate> Exchange::reply(Problem problem) {
  const bool persists = client_keep_alive_ && request_body_.done() && !worker_.is_draining();
  status_ = problem.status;
  worker_.metrics().count_own_reply(status_);
  const std::string text =
      fmt::format("{} {}: {}\n", status_, http::reason_phrase(status_), problem.text);
  const std::string bytes =
      http::own_reply({.status = status_,
                       .body = text,
                       .retry_after_s = problem.retry_after_s,
                       .persist = persists ? http::Persist::kKeepAlive : http::Persist::kClose,
                       .answers = answers_});
  bytes_out_ += text.size();
  const io::IoResult sent = co_await client_.send(bytes, after(kReplyTime));
  if (!sent.ok()) co_return Fate::kClose;
  co_return persists ? Fate::kPersist : Fate::kLinger;
}

void Exchange::record() {
  const Duration took = worker_.clock().now() - started_;
  const std::string_view route = route_ != nullptr ? std::string_view(route_->spec.id) : "";
  GatewayMetrics& metrics = worker_.metrics();
  metrics.count_request(route, status_, took);
  if (const auto found = metrics.routes.find(route); found != metrics.routes.end()) {
    found->second.bytes_in += request_body_.bytes();
    found->second.bytes_out += bytes_out_;
  }
  if (held_ > Duration::zero()) metrics.held.record(held_);
  if (worker_.access_log() == nullptr) return;
  worker_.access_log()->line({.client = session_.client_ip_,
                              .method = method_,
                              .host = host_,
                              .target = target_,
                              .route = route,
                              .upstream = upstream_address_,
                              .trace = trace_.trace(),
                              .status = status_,
                              .bytes_in = request_body_.bytes(),
                              .bytes_out = bytes_out_,
                              .took = took,
                              .held = held_});
}

// ---- the gate

io::Task<Exchange::Entry> Exchange::enter() {
  const auto head_bytes = static_cast<std::int64_t>(request_head_.size() + first_body_.size());
  Entrance entrance = worker_.hold().admit(route_->index, PassKind::kRequest, head_bytes);
  if (Pass* const pass = std::get_if<Pass>(&entrance)) {
    pass_ = std::move(*pass);
    co_return Entry::kInside;
  }
  if (const HoldRefusal* const refusal = std::get_if<HoldRefusal>(&entrance)) {
    refusal_ = *refusal;
    co_return Entry::kRefused;
  }
  auto ticket = std::move(std::get<std::unique_ptr<Ticket>>(entrance));
  co_return co_await wait_in_queue(std::move(ticket));
}

io::Task<Exchange::Entry> Exchange::wait_in_queue(std::unique_ptr<Ticket> ticket) {
  ticket->on_ready = [this](Admission admission) {
    admission_ = std::move(admission);
    changed_.set();
    client_.cancel_recv();
  };
  const Mono since = ticket->since();
  worker_.rearm_hold();
  client_.set_idle_observer(this);
  bool present = true;
  while (present && !admission_) present = co_await wait_for_change(*ticket);
  client_.set_idle_observer(nullptr);
  held_ = worker_.clock().now() - since;
  // A client that has gone leaves without being sent: destroying the ticket, or the pass, says so.
  if (!present || client_gone_ || client_.is_broken()) co_return Entry::kGone;
  if (const HoldRefusal* const refusal = std::get_if<HoldRefusal>(&*admission_)) {
    refusal_ = *refusal;
    co_return Entry::kRefused;
  }
  pass_ = std::move(std::get<Pass>(*admission_));
  co_return Entry::kInside;
}

// False when the client has gone.
io::Task<bool> Exchange::wait_for_change(Ticket& ticket) {
  if (client_gone_ || client_.is_broken()) co_return false;
  if (client_.peer_ended() && !client_probed_ && client_minor_version_ >= 1) {
    // It ended its sending: half, or all? A client that is gone answers these bytes with a reset.
    client_probed_ = true;
    const io::IoResult probed = co_await client_.send(kContinue, after(kReplyTime));
    co_return probed.ok();
  }
  if (!request_body_.done() && body_room_) co_return co_await read_while_held(ticket);
  changed_.reset();
  if (!admission_) (void)co_await changed_.wait();  // the ticket has its own deadline
  co_return !client_gone_ && !client_.is_broken();
}

io::Task<bool> Exchange::read_while_held(Ticket& ticket) {
  if (std::exchange(awaits_continue_, false)) {
    const io::IoResult sent = co_await client_.send(kContinue, after(kReplyTime));
    if (!sent.ok()) co_return false;
    if (admission_) co_return true;
  }
  const std::span<char> scratch = worker_.loop().scratch().first(kHeadRead);
  const io::IoResult got = co_await client_.recv(scratch, io::kNever);
  if (got.status == io::IoStatus::kCancelled) co_return admission_.has_value();
  if (!got.ok()) co_return false;
  append_to_inbox({scratch.data(), got.bytes});
  const std::size_t before = first_body_.size();
  take_first_body();
  // What arrived is kept in any case; without room nothing more is read.
  if (!admission_)
    body_room_ = ticket.reserve_bytes(static_cast<std::int64_t>(first_body_.size() - before));
  co_return true;
}

void Exchange::append_to_inbox(std::string_view bytes) {
  session_.inbox_.append(bytes);
}

io::Task<void> Exchange::send_continue() {
  if (!std::exchange(awaits_continue_, false) || request_body_.done()) co_return;
  // A client that cannot be told will be noticed when its body is read.
  (void)co_await client_.send(kContinue, after(kReplyTime));
}

void Exchange::on_idle_activity(io::Socket&) {
  if (client_.is_broken()) {
    client_gone_ = true;
    if (upstream_) upstream_->socket.cancel();
  }
  changed_.set();
}

// ---- forwarding

io::Task<Fate> Exchange::forward() {
  while (true) {
    const Attempt end = co_await attempt();
    if (end == Attempt::kAnswered) co_return fate_;
    if (end == Attempt::kClientGone) co_return Fate::kClose;
    if (!may_try_again(end)) co_return co_await reply(problem_of(end));
    ++retries_;
    ++worker_.metrics().retries;
  }
}

bool Exchange::may_try_again(Attempt end) {
  if (retries_ >= limits().retries || uploading_) return false;
  if (end == Attempt::kUnreachable) return true;
  return end == Attempt::kDied && repeatable_;
}

Exchange::Problem Exchange::problem_of(Attempt end) {
  switch (end) {
    case Attempt::kNoRoute:
      return {404, "nothing is published at this address"};
    case Attempt::kNoEndpoint:
      return {503, "no instance of the service is available; try again shortly", 1};
    case Attempt::kUnreachable:
      return {502, "the service cannot be reached; try again shortly"};
    case Attempt::kDied:
      return {502, "the service closed the connection without an answer"};
    case Attempt::kLate:
      return {504, "the service did not answer in time"};
    case Attempt::kBodyMalformed:
      return {400, "the body's chunks are malformed"};
    case Attempt::kBodyTooLarge:
      return {413, "the body is larger than this service accepts"};
    case Attempt::kBodyLate:
      return {408, "the body did not arrive in time"};
    default:
      return {502, "the service gave an answer that is not valid HTTP"};
  }
}

io::Task<Exchange::Attempt> Exchange::attempt() {
  if (routing_ != worker_.routing() && !find_route()) co_return Attempt::kNoRoute;
  Endpoint* const same = std::exchange(again_, nullptr);
  Endpoint* const endpoint = same != nullptr ? same : worker_.pick(route_->index, tried_);
  if (endpoint == nullptr) co_return Attempt::kNoEndpoint;
  if (same == nullptr && std::ranges::find(tried_, endpoint) != tried_.end()) {
    retries_ = limits().retries;  // nobody else to ask
    co_return Attempt::kUnreachable;
  }
  const EndpointUse use(*endpoint);
  upstream_address_ = endpoint->address();
  upstream_ = same == nullptr ? reuse(*endpoint) : nullptr;
  if (!upstream_ && !co_await connect(*endpoint)) {
    tried_.push_back(endpoint);
    if (!client_gone_) endpoint->note_failure();
    co_return client_gone_ ? Attempt::kClientGone : Attempt::kUnreachable;
  }
  ++endpoint->requests;
  const Attempt end = co_await converse();
  if (status_ != 0) endpoint->note_answer();
  if (end == Attempt::kDied && !upstream_->is_reused()) endpoint->note_failure();
  if (end == Attempt::kDied) choose_repeat(*endpoint);
  if (is_reusable_) endpoint->give_back(std::move(upstream_));
  upstream_.reset();
  co_return end;
}

// A reused connection may just have been closed for idleness: the same endpoint is asked once more.
// A fresh one that died takes its endpoint with it: another one is asked.
void Exchange::choose_repeat(Endpoint& endpoint) {
  repeatable_ = sent_bytes_ == 0 || (is_safe() && request_body_.done());
  if (upstream_->is_reused() && repeatable_ && !endpoint.retired) {
    again_ = &endpoint;
  } else {
    tried_.push_back(&endpoint);
  }
}

// For a request that could not be repeated, the kernel is asked whether the connection still lives.
std::unique_ptr<Upstream> Exchange::reuse(Endpoint& endpoint) const {
  std::unique_ptr<Upstream> upstream = endpoint.take_idle();
  while (upstream != nullptr && !is_safe() && !upstream->socket.is_quiet())
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
    co_return false;
  }
  metrics.upstream_connect.record(worker_.clock().now() - begin);
  upstream_ = *std::move(connected);
  co_return !client_gone_;
}

io::Task<Exchange::Attempt> Exchange::converse() {
  const io::IoResult sent =
      co_await upstream_->socket.send(request_head_, first_body_, after(limits().body_idle_ms));
  sent_bytes_ += sent.bytes;
  if (!sent.ok() && sent.bytes == 0) co_return unanswered(sent.status);
  co_await send_continue();
  if (!request_body_.done() && sent.ok()) {
    first_body_.clear();
    uploading_ = true;
    upload();
  } else {
    client_.set_idle_observer(this);
  }
  const Attempt end = co_await receive_response();
  client_.set_idle_observer(nullptr);
  co_await end_upload();
  co_return end;
}

io::Detached Exchange::upload() {
  io::Socket& up = upstream_->socket;
  for (int turn = 1; !stop_upload_ && !upload_end_ && !request_body_.done(); ++turn) {
    const std::span<char> scratch = worker_.loop().scratch();
    const io::IoResult got = co_await client_.recv(scratch, after(limits().body_idle_ms));
    if (!got.ok()) {
      if (stop_upload_) break;
      upload_end_ =
          got.status == io::IoStatus::kTimeout ? Attempt::kBodyLate : Attempt::kClientGone;
      break;
    }
    const std::string_view bytes(scratch.data(), got.bytes);
    const std::size_t taken = request_body_.take(bytes);
    append_to_inbox(bytes.substr(taken));
    if (const auto problem = body_problem()) {
      upload_end_ = problem->status == 413 ? Attempt::kBodyTooLarge : Attempt::kBodyMalformed;
      break;
    }
    const io::IoResult sent =
        co_await up.send(bytes.substr(0, taken), after(limits().body_idle_ms));
    if (!sent.ok()) break;  // perhaps it answers early: the answer decides
    if (turn % kTurnsBeforeYield == 0) co_await worker_.loop().yield();
  }
  if (upload_end_) up.cancel();  // wakes whoever waits for the answer
  upload_done_.set();
}

io::Task<void> Exchange::end_upload() {
  if (!uploading_) co_return;
  if (!upload_done_.is_set()) {
    stop_upload_ = true;
    client_.cancel_recv();
    upstream_->socket.cancel();
    is_reusable_ = false;
  }
  (void)co_await upload_done_.wait();  // ends because its sockets were cancelled
}

// ---- the response

io::Task<Exchange::Attempt> Exchange::receive_response() {
  while (true) {
    const Attempt end = co_await receive_response_head();
    if (end != Attempt::kAnswered) co_return end;
    const int status = worker_.head().status;
    // A switch nobody asked for would join this client to the upstream's connection.
    if (status == 101 && !is_upgrade_) co_return Attempt::kBadResponse;
    if (status / 100 != 1 || status == 101) break;
    if (!co_await relay_interim()) co_return Attempt::kClientGone;
  }
  begin_response(worker_.head());
  if (is_switching_) co_return co_await tunnel();
  co_return co_await relay_response();
}

// kAnswered: the head is in worker.head(), its bytes in response_in_.
io::Task<Exchange::Attempt> Exchange::receive_response_head() {
  while (true) {
    if (!response_in_.empty()) {
      const http::Parsed parsed = http::parse_response(response_in_, answers_, worker_.head());
      response_head_size_ = parsed.size;
      if (parsed.outcome == http::Outcome::kComplete) co_return Attempt::kAnswered;
      if (parsed.outcome == http::Outcome::kRefused) co_return Attempt::kBadResponse;
    }
    const std::uint64_t uploaded = request_body_.bytes();
    const std::span<char> scratch = worker_.loop().scratch().first(kHeadRead);
    const io::IoResult got = co_await upstream_->socket.recv(scratch, after(limits().response_ms));
    const bool uploads_on = uploading_ && !upload_done_.is_set();
    if (got.status == io::IoStatus::kTimeout && uploads_on && request_body_.bytes() > uploaded)
      continue;
    if (!got.ok()) co_return unanswered(got.status);
    response_in_.append(scratch.data(), got.bytes);
  }
}

// Why there is no response.
Exchange::Attempt Exchange::unanswered(io::IoStatus status) const {
  if (upload_end_) return *upload_end_;
  if (client_gone_) return Attempt::kClientGone;
  if (status == io::IoStatus::kTimeout) return Attempt::kLate;
  return response_in_.empty() ? Attempt::kDied : Attempt::kBadResponse;
}

// 103 and the like go through; 100 was the gateway's own to say.
io::Task<bool> Exchange::relay_interim() {
  const bool relays = client_minor_version_ >= 1 && worker_.head().status != 100;
  std::string head;
  if (relays) {
    head.resize(http::client_head_bytes_max(worker_.head()));
    head.resize(http::write_client_head(worker_.head(), {}, head.data()));
  }
  response_in_.erase(0, response_head_size_);
  if (!relays) co_return true;
  const io::IoResult sent = co_await client_.send(head, after(kReplyTime));
  co_return sent.ok();
}

void Exchange::begin_response(const http::Head& head) {
  status_ = head.status;
  is_switching_ = head.status == 101;
  response_body_ = BodyFollower(head);
  upstream_keep_alive_ = head.keep_alive;
  decodes_ = client_minor_version_ == 0 && head.framing == http::Framing::kChunked;
  client_persists_ = client_keep_alive_ && request_body_.done() && !worker_.is_draining() &&
                     head.framing != http::Framing::kUntilClose && !decodes_;
  const http::Field* const type = head.find(http::FieldId::kContentType);
  is_event_stream_ = type != nullptr && type->value.starts_with("text/event-stream");
  if (is_event_stream_ || is_switching_) pass_.become_stream();
  const http::ClientRewrite rewrite{
      .persist = client_persists_ ? http::Persist::kKeepAlive : http::Persist::kClose,
      .client_minor_version = client_minor_version_};
  client_head_.resize(http::client_head_bytes_max(head));
  client_head_.resize(http::write_client_head(head, rewrite, client_head_.data()));
}

io::Task<Exchange::Attempt> Exchange::relay_response() {
  const std::string_view rest = std::string_view(response_in_).substr(response_head_size_);
  std::string payload;
  const std::size_t taken = response_body_.take(rest, decodes_ ? &payload : nullptr);
  if (response_body_.malformed()) co_return Attempt::kBadResponse;
  if (taken < rest.size()) upstream_keep_alive_ = false;  // it says more than it was asked
  const std::string_view body = decodes_ ? std::string_view(payload) : rest.substr(0, taken);
  bytes_out_ += body.size();
  const io::IoResult sent = co_await client_.send(client_head_, body, after(limits().body_idle_ms));
  if (!sent.ok()) co_return Attempt::kClientGone;
  response_in_ = {};
  const bool complete = response_body_.done() || co_await relay_rest();
  end_response(complete);
  co_return Attempt::kAnswered;
}

// False when the body could not be carried to its end.
io::Task<bool> Exchange::relay_rest() {
  const Duration idle = is_event_stream_ ? limits().stream_idle_ms : limits().body_idle_ms;
  std::string payload;
  for (int turn = 1; !response_body_.done(); ++turn) {
    const std::span<char> scratch = worker_.loop().scratch();
    const io::IoResult got = co_await upstream_->socket.recv(scratch, after(idle));
    if (got.status == io::IoStatus::kEnd) co_return response_body_.finish_at_close();
    if (!got.ok()) co_return false;
    const std::string_view bytes(scratch.data(), got.bytes);
    payload.clear();
    const std::size_t taken = response_body_.take(bytes, decodes_ ? &payload : nullptr);
    if (response_body_.malformed()) co_return false;
    if (taken < bytes.size()) upstream_keep_alive_ = false;
    const std::string_view body = decodes_ ? std::string_view(payload) : bytes.substr(0, taken);
    bytes_out_ += body.size();
    const io::IoResult sent = co_await client_.send(body, after(limits().body_idle_ms));
    if (!sent.ok()) co_return false;
    if (turn % kTurnsBeforeYield == 0) co_await worker_.loop().yield();
  }
  co_return true;
}

void Exchange::end_response(bool complete) {
  is_reusable_ = complete && upstream_keep_alive_ && request_body_.done() &&
                 response_body_.framing() != http::Framing::kUntilClose;
  // Closing without an end is how the client learns that the body is cut off.
  fate_ = !complete ? Fate::kClose : (client_persists_ ? Fate::kPersist : Fate::kLinger);
}

// ---- after 101

io::Task<Exchange::Attempt> Exchange::tunnel() {
  const std::string_view rest = std::string_view(response_in_).substr(response_head_size_);
  const io::IoResult answered =
      co_await client_.send(client_head_, rest, after(limits().body_idle_ms));
  if (!answered.ok()) co_return Attempt::kClientGone;
  client_.set_idle_observer(nullptr);
  bytes_out_ += rest.size();
  last_pumped_ = worker_.loop().now();
  uploading_ = true;
  tunnel_up();
  co_await pump(upstream_->socket, client_, bytes_out_);
  (void)co_await upload_done_.wait();  // each side ends the other
  fate_ = Fate::kClose;
  co_return Attempt::kAnswered;
}

io::Detached Exchange::tunnel_up() {
  std::uint64_t bytes_in = 0;
  // What the client sent too early was kept from the upstream until it agreed to switch.
  const std::string early = std::exchange(session_.inbox_, {});
  const io::IoResult sent = co_await upstream_->socket.send(early, after(limits().stream_idle_ms));
  if (sent.ok()) co_await pump(client_, upstream_->socket, bytes_in);
  upload_done_.set();
}

// Until `from` ends, which `to` is told, or either breaks, which ends both.
io::Task<void> Exchange::pump(io::Socket& from, io::Socket& to, std::uint64_t& bytes) {
  const Duration idle = limits().stream_idle_ms;
  while (true) {
    const std::span<char> scratch = worker_.loop().scratch();
    const io::IoResult got = co_await from.recv(scratch, after(idle));
    const bool other_way_active = last_pumped_ + idle > worker_.loop().now();
    if (got.status == io::IoStatus::kTimeout && other_way_active) continue;
    if (got.status == io::IoStatus::kEnd) {
      to.shutdown_send();
      co_return;
    }
    io::IoResult sent{io::IoStatus::kFailed, 0};
    if (got.ok()) sent = co_await to.send({scratch.data(), got.bytes}, after(idle));
    if (!sent.ok()) break;
    bytes += got.bytes;
    last_pumped_ = worker_.loop().now();
  }
  from.cancel();
  to.cancel();
}

}  // namespace banyan::gateway
