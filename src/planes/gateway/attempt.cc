#include "planes/gateway/attempt.h"

#include <algorithm>
#include <utility>

#include "planes/gateway/event_relay.h"
#include "planes/gateway/min_rate.h"
#include "planes/gateway/rewrite.h"
#include "planes/gateway/tunnel.h"
#include "planes/gateway/worker.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kAnySize = ~std::size_t{0};
constexpr int kTurnsBeforeYield = 8;  // of up to 256 KB each
constexpr Duration kReplyTime = 10s;
constexpr std::uint64_t kBatch = 256 * 1024;
constexpr Duration kBatchWait = 5ms;  // a body that comes more slowly is passed on as it comes
constexpr std::uint64_t kPassByLeast = 128 * 1024;  // shorter ones are not worth a pipe

// The delay in seconds of a Retry-After; a date counts as none.
Duration seconds_of(const http::Field* field) {
  if (field == nullptr || field->value.empty() || field->value.size() > 6) return {};
  int seconds = 0;
  for (const char c : field->value) {
    if (c < '0' || c > '9') return {};
    seconds = seconds * 10 + (c - '0');
  }
  return std::chrono::seconds(seconds);
}

}  // namespace

Attempt::Attempt(const AttemptOrder& order, Upstream& upstream)
    : order_(order),
      worker_(order.worker),
      client_(order.client),
      upstream_(upstream),
      limits_(order.limits),
      upload_done_(order.worker.loop()) {}

Mono Attempt::after(Duration duration) const {
  return worker_.loop().now() + duration;
}

void Attempt::cancel() {
  client_gone_ = true;
  upstream_.cancel();
}

void Attempt::on_client_activity() {
  if (client_.is_gone()) cancel();
}

io::Task<AttemptEnd> Attempt::run() {
  began_at_ = answered_at_ = worker_.loop().now();
  const bool last = client_.incoming().done;
  const BodyPart first{.bytes = order_.first_body, .last = last, .trailers = client_.trailers()};
  if (order_.is_grpc && client_.incoming().form == BodyForm::kPlain) begin_call();
  const io::IoResult sent =
      co_await upstream_.send_request(order_.request, first, after(limits_.body_idle_ms));
  sent_bytes_ += sent.bytes;
  if (!sent.ok() && sent.bytes == 0)
    co_return unanswered(sent.status == io::IoStatus::kTimeout ? Upstream::HeadEnd::kLate
                                                               : Upstream::HeadEnd::kEnded);
  // A client that cannot be told will be noticed when its body is read.
  if (client_.awaits_continue() && !last) (void)co_await client_.send_continue(after(kReplyTime));
  if (!last && sent.ok()) {
    uploading_ = true;
    upload();
  } else {
    client_.set_observer(this);
  }
  const AttemptEnd end = co_await receive_response();
  client_.set_observer(nullptr);
  if (uploading_) co_await end_upload();
  co_return end;
}

void Attempt::begin_call() {
  const spec::Rehome& rules = worker_.routing()->snapshot.rehome;
  const GrpcCall::Times times{.idle = limits_.stream_idle_ms,
                              .send = limits_.body_idle_ms,
                              .settle = rules.settle,
                              .unanswered = rules.unanswered};
  call_.emplace(worker_.loop(), client_, upstream_, order_.owner, times);
  call_->note_sent(order_.first_body);
}

// ---- the request's body

std::optional<AttemptEnd> Attempt::upload_problem() const {
  const BodyProgress& body = client_.incoming();
  if (body.malformed) return AttemptEnd::kBodyMalformed;
  const auto most = static_cast<std::uint64_t>(order_.body_bytes_max);
  if (most != 0 && (body.bytes > most || body.bytes_left > most)) return AttemptEnd::kBodyTooLarge;
  return std::nullopt;
}

io::Detached Attempt::upload() {
  MinRate rate(limits_.body_rate, limits_.body_grace_ms);
  for (int turn = 1; !stop_upload_ && !client_.incoming().done; ++turn) {
    const BodyPiece got = co_await read_upload(rate);
    if (!got.ok() && !client_.incoming().done) {
      if (stop_upload_) break;
      upload_end_ =
          got.status == io::IoStatus::kTimeout ? AttemptEnd::kBodyLate : AttemptEnd::kClientGone;
      break;
    }
    upload_end_ = upload_problem();
    if (upload_end_) break;
    const io::IoResult sent = co_await pass_up(got.bytes);
    if (!sent.ok()) break;  // perhaps it answers early: the answer decides
    if (turn % kTurnsBeforeYield == 0) co_await worker_.loop().yield();
  }
  if (upload_end_) upstream_.cancel();  // wakes whoever waits for the answer
  upload_done_.set();
}

// Between two messages of a call, or while the other way is active, a client may be silent.
io::Task<BodyPiece> Attempt::read_upload(MinRate& rate) {
  while (true) {
    const bool may_be_silent = call_ && call_->is_between_messages();
    const Mono asked = worker_.loop().now();
    const Duration patience = may_be_silent
                                  ? limits_.stream_idle_ms
                                  : rate.allowance(client_.incoming().bytes, limits_.body_idle_ms);
    const BodyPiece got = co_await client_.read_body(kAnySize, asked + patience);
    if (!may_be_silent) rate.waited(worker_.loop().now() - asked);
    const bool is_late = got.status == io::IoStatus::kTimeout;
    if (!is_late || !may_be_silent || !call_->was_active_within(patience)) co_return got;
  }
}

io::Task<io::IoResult> Attempt::pass_up(std::string_view bytes) {
  if (call_) return call_->send_up(bytes);
  const BodyPart part{
      .bytes = bytes, .last = client_.incoming().done, .trailers = client_.trailers()};
  return upstream_.send_body(part, after(limits_.body_idle_ms));
}

io::Task<void> Attempt::end_upload() {
  if (!upload_done_.is_set()) {
    stop_upload_ = stopped_upload_ = true;
    client_.stop_reading();
    if (call_) call_->stop_sending();
    upstream_.cancel();
  }
  (void)co_await upload_done_.wait();  // ends because its sides were cancelled
}

// ---- long bodies

bool Attempt::can_pass_by() const {
  return upstream_.unseen_source().bytes >= kPassByLeast && client_.unseen_sink() != nullptr;
}

// The rest of the body through a pipe of the kernel's, in large batches as long as it comes fast.
// kCancelled before anything has moved: no pipe was to be had. Not kOk in any other case: cut off.
io::Task<io::IoStatus> Attempt::pass_by(Duration idle) {
  std::unique_ptr<io::Pipe> pipe = worker_.borrow_pipe();
  if (pipe == nullptr) co_return io::IoStatus::kCancelled;
  io::Socket& source = *upstream_.unseen_source().socket;
  io::Socket& sink = *client_.unseen_sink();
  bool is_fast = true;
  io::IoStatus status = io::IoStatus::kOk;
  while (status == io::IoStatus::kOk && !upstream_.incoming().done) {
    const std::uint64_t left = upstream_.unseen_source().bytes;
    const io::Socket::Amount amount{.most = left,
                                    .worth_waking = is_fast ? std::min(left, kBatch) : 1};
    const io::IoResult got =
        co_await source.move_in(*pipe, amount, after(is_fast ? kBatchWait : idle));
    if (got.status == io::IoStatus::kTimeout && std::exchange(is_fast, false)) continue;
    status = got.status;
    if (!got.ok()) break;
    upstream_.note_passed_by(got.bytes);
    bytes_out_ += got.bytes;
    const io::IoResult sent = co_await sink.move_out(*pipe, after(limits_.body_idle_ms));
    status = sent.status;
    co_await worker_.loop().yield();
  }
  source.reset_receive_low_water();
  worker_.give_back_pipe(std::move(pipe));
  co_return status;
}

// ---- the response

io::Task<AttemptEnd> Attempt::receive_response() {
  const http::Head& head = worker_.head();
  while (true) {
    const Upstream::HeadEnd end = co_await receive_head();
    if (end != Upstream::HeadEnd::kComplete) co_return unanswered(end);
    // A switch nobody asked for would join this client to the upstream's connection.
    if (head.status == 101 && !order_.is_upgrade) co_return AttemptEnd::kBadResponse;
    if (head.status / 100 != 1 || head.status == 101) break;
    if (head.status == 100) continue;  // that was the gateway's own to say
    const io::IoResult sent = co_await client_.send_interim(head, after(kReplyTime));
    if (!sent.ok()) co_return AttemptEnd::kClientGone;
  }
  status_ = head.status;
  answered_at_ = worker_.loop().now();
  if (status_ == 503 || status_ == 429) retry_after_ = seconds_of(head.find("retry-after"));
  if (order_.declines && order_.declines(status_, retry_after_)) co_return AttemptEnd::kDeclined;
  const http::Field* const type = head.find(http::FieldId::kContentType);
  is_event_stream_ = type != nullptr && type->value.starts_with("text/event-stream");
  may_be_silent_ = type != nullptr && type->value.starts_with("application/grpc");
  if (is_event_stream_ || status_ == 101) order_.owner.on_stream();
  if (order_.edits != nullptr && !edit_head()) {
    status_ = 0;
    co_return AttemptEnd::kBadResponse;
  }
  if (status_ == 101) co_return co_await tunnel();
  co_return co_await relay_response();
}

// False: the edits make no valid head of it.
bool Attempt::edit_head() {
  const ResponseScene scene{.scheme = client_.scheme(),
                            .authority = order_.authority,
                            .upstream = upstream_.endpoint().address()};
  edited_head_ = edited_response_head(worker_.head().raw, *order_.edits, scene);
  const http::Parsed parsed =
      http::parse_response(edited_head_, order_.request.answers, worker_.head());
  return parsed.outcome == http::Outcome::kComplete;
}

// While the request's body still arrives, or may do so on a call's stream, its answer is not late.
io::Task<Upstream::HeadEnd> Attempt::receive_head() {
  while (true) {
    const std::uint64_t uploaded = client_.incoming().bytes;
    const Upstream::HeadEnd end =
        co_await upstream_.receive_head(worker_.head(), after(order_.response_time));
    const bool may_be_silent = call_ && call_->was_active_within(limits_.stream_idle_ms) &&
                               worker_.loop().now() < order_.response_until;
    const bool goes_on = uploads() && (may_be_silent || client_.incoming().bytes > uploaded);
    if (end != Upstream::HeadEnd::kLate || !goes_on) co_return end;
  }
}

// Why there is no response.
AttemptEnd Attempt::unanswered(Upstream::HeadEnd end) const {
  if (end == Upstream::HeadEnd::kRefused) return AttemptEnd::kBadResponse;
  if (call_ && call_->is_left()) return AttemptEnd::kLeft;
  if (upload_end_) return *upload_end_;
  if (client_gone_) return AttemptEnd::kClientGone;
  if (end == Upstream::HeadEnd::kLate) return AttemptEnd::kLate;
  return upstream_.has_partial_head() ? AttemptEnd::kBadResponse : AttemptEnd::kDied;
}

BodyPart Attempt::part(std::string_view bytes) const {
  return {.bytes = bytes, .last = upstream_.incoming().done, .trailers = upstream_.trailers()};
}

io::Task<AttemptEnd> Attempt::relay_response() {
  const std::string_view bytes = upstream_.take_received();
  if (upstream_.incoming().malformed) {
    status_ = 0;
    co_return AttemptEnd::kBadResponse;
  }
  bytes_out_ += bytes.size();
  const BodyPart first = part(bytes);
  if (is_event_stream_) co_return co_await relay_events(first);
  const bool whole = first.last;
  const bool is_call = call_ && may_be_silent_ && upstream_.incoming().form == BodyForm::kPlain;
  if (is_call) call_->note_answered(bytes);
  const io::IoResult sent = co_await client_.respond(worker_.head(), upstream_.incoming().form,
                                                     first, after(limits_.body_idle_ms));
  if (!sent.ok()) co_return AttemptEnd::kClientGone;
  if (whole) co_return AttemptEnd::kAnswered;
  co_return is_call ? co_await relay_call() : co_await relay_rest();
}

io::Task<AttemptEnd> Attempt::relay_rest() {
  const Duration idle = may_be_silent_ ? limits_.stream_idle_ms : limits_.body_idle_ms;
  const BodyProgress& body = upstream_.incoming();
  if (can_pass_by()) {
    const io::IoStatus passed = co_await pass_by(idle);
    if (passed != io::IoStatus::kOk && passed != io::IoStatus::kCancelled)
      co_return AttemptEnd::kCutOff;
  }
  for (int turn = 1; !body.done; ++turn) {
    const BodyPiece got = co_await upstream_.read_body(kAnySize, after(idle));
    if ((!got.ok() && !body.done) || body.malformed) co_return AttemptEnd::kCutOff;
    bytes_out_ += got.bytes.size();
    const BodyPart next = part(got.bytes);
    const io::IoResult sent = co_await client_.send_body(next, after(limits_.body_idle_ms));
    if (!sent.ok()) co_return AttemptEnd::kCutOff;
    if (turn % kTurnsBeforeYield == 0) co_await worker_.loop().yield();
  }
  co_return AttemptEnd::kAnswered;
}

// ---- endless answers

bool Attempt::leave(int close_code) {
  if (call_ && !call_->may_leave()) return false;
  leave_code_ = close_code;
  if (stream_ != nullptr) {
    stream_->leave(close_code);
  } else if (call_ && status_ == 0) {  // there is no answer to end
    call_->leave(close_code);
    upstream_.cancel();
  }
  return true;
}

void Attempt::begin_stream(LongStream& stream) {
  stream_ = &stream;
  if (leave_code_) stream.leave(*leave_code_);
}

io::Task<AttemptEnd> Attempt::relay_events(BodyPart first) {
  const EventRelay::Times times{.idle = limits_.stream_idle_ms, .send = limits_.body_idle_ms};
  EventRelay relay(worker_.loop(), client_, upstream_, {worker_.head(), first.bytes}, times);
  const bool whole = first.last;
  const io::IoResult answered = co_await client_.respond(worker_.head(), upstream_.incoming().form,
                                                         first, after(limits_.body_idle_ms));
  if (!answered.ok()) co_return AttemptEnd::kClientGone;
  if (whole) co_return AttemptEnd::kAnswered;
  begin_stream(relay);
  const bool ended = co_await relay.run();
  stream_ = nullptr;
  bytes_out_ += relay.bytes();
  co_return ended ? AttemptEnd::kAnswered : AttemptEnd::kCutOff;
}

io::Task<AttemptEnd> Attempt::relay_call() {
  begin_stream(*call_);
  const bool ended = co_await call_->relay();
  stream_ = nullptr;
  bytes_out_ += call_->bytes_down();
  co_return ended ? AttemptEnd::kAnswered : AttemptEnd::kCutOff;
}

io::Task<AttemptEnd> Attempt::tunnel() {
  upstream_.begin_tunnel();
  const std::string_view early = upstream_.take_received();
  bytes_out_ += early.size();
  const http::Field* const protocol = worker_.head().find(http::FieldId::kUpgrade);
  const Tunnel::Options options{
      .idle = limits_.stream_idle_ms,
      .is_websocket = protocol != nullptr && http::equals_lower(protocol->value, "websocket"),
      .mask = static_cast<std::uint32_t>(worker_.ids().next())};
  Tunnel tunnel(worker_.loop(), client_, upstream_, early, options);
  const io::IoResult answered = co_await client_.respond(
      worker_.head(), BodyForm::kPlain, {.bytes = early}, after(limits_.body_idle_ms));
  if (!answered.ok()) co_return AttemptEnd::kClientGone;
  client_.begin_tunnel();
  uploading_ = true;
  upload_done_.set();  // its bytes are the tunnel's
  begin_stream(tunnel);
  co_await tunnel.run();
  stream_ = nullptr;
  bytes_out_ += tunnel.bytes_down();
  co_return AttemptEnd::kAnswered;
}

}  // namespace banyan::gateway
