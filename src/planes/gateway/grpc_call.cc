#include "planes/gateway/grpc_call.h"

#include <algorithm>
#include <string>
#include <utility>

namespace banyan::gateway {
namespace {

constexpr std::size_t kAnySize = ~std::size_t{0};
constexpr int kTurnsBeforeYield = 8;
constexpr std::string_view kUnavailable =
    "grpc-status: 14\r\ngrpc-message: the stream was ended; call again\r\n";

}  // namespace

GrpcCall::GrpcCall(io::Loop& loop, Client& client, Upstream& upstream, GrpcCallOwner& owner,
                   Times times)
    : loop_(loop),
      client_(client),
      upstream_(upstream),
      owner_(owner),
      times_(times),
      last_up_(loop.now()),
      last_down_(loop.now()),
      may_send_(loop) {}

// ---- the request's body

void GrpcCall::note_sent(std::string_view bytes) {
  up_.take(bytes);
  last_up_ = now();
  request_open_ = !client_.incoming().done;
}

io::Task<io::IoResult> GrpcCall::pass_up(std::string_view bytes) {
  const bool last = client_.incoming().done && !waiting_;
  request_open_ = !last;
  last_up_ = now();
  const BodyPart part{.bytes = bytes, .last = last, .trailers = client_.trailers()};
  return upstream_.send_body(part, now() + times_.send);
}

// The end of a request is something new, too: it may be what makes the backend write.
io::Task<io::IoResult> GrpcCall::send_up(std::string_view bytes) {
  const std::size_t goes = silent_ ? up_.take_rest(bytes) : bytes.size();
  const std::string rest(bytes.substr(goes));
  waiting_ = silent_ && (!rest.empty() || client_.incoming().done);
  if (!silent_) up_.take(bytes);
  io::IoResult sent{io::IoStatus::kOk, 0};
  if (!waiting_ || goes > 0) sent = co_await pass_up(bytes.substr(0, goes));
  if (!waiting_ || !sent.ok()) co_return sent;
  owner_.on_waiting_message();
  while (silent_ && !stopped_) {
    may_send_.reset();
    (void)co_await may_send_.wait();  // the call's own time is the answer's
  }
  waiting_ = false;
  if (stopped_) co_return io::IoResult{io::IoStatus::kCancelled, 0};
  up_.take(rest);
  co_return co_await pass_up(rest);
}

bool GrpcCall::was_active_within(Duration time) const {
  return silent_ || std::max(last_up_, last_down_) + time > now();
}

void GrpcCall::stop_sending() {
  stopped_ = true;
  may_send_.set();
}

// ---- the answer's body

void GrpcCall::note_answered(std::string_view first) {
  answered_ = true;
  down_.take(first);
  last_down_ = now();
}

io::Task<bool> GrpcCall::relay() {
  const BodyProgress& body = upstream_.incoming();
  for (int turn = 1; !body.done; ++turn) {
    if (leaving_ && down_.at_boundary()) co_return co_await end();
    const Mono until = leaving_ ? leave_until_ : now() + times_.idle;
    const BodyPiece got = co_await upstream_.read_body(kAnySize, until);
    if (got.status == io::IoStatus::kCancelled && std::exchange(woken_, false)) continue;
    const bool other_way_active = !leaving_ && was_active_within(times_.idle);
    if (got.status == io::IoStatus::kTimeout && other_way_active) continue;
    if (body.malformed) co_return false;
    if (!got.ok() && !body.done) co_return co_await end();
    if (!co_await pass_down(got.bytes)) co_return false;
    if (turn % kTurnsBeforeYield == 0) co_await loop_.yield();
  }
  co_return true;
}

io::Task<bool> GrpcCall::pass_down(std::string_view bytes) {
  const bool last = upstream_.incoming().done;
  if (leaving_ && !last)
    bytes = bytes.substr(0, down_.take_whole(bytes));
  else
    down_.take(bytes);
  last_down_ = now();
  bytes_down_ += bytes.size();
  const BodyPart part{.bytes = bytes, .last = last, .trailers = upstream_.trailers()};
  const io::IoResult sent = co_await client_.send_body(part, now() + times_.send);
  co_return sent.ok();
}

// A status instead of what the backend would still have said. Inside a message there is no place
// for one: the call is cut off.
io::Task<bool> GrpcCall::end() {
  leaving_ = true;
  if (!co_await pass_down(upstream_.take_received())) co_return false;
  if (upstream_.incoming().done) co_return true;
  if (!down_.at_boundary()) co_return false;
  const BodyPart part{.last = true, .trailers = kUnavailable};
  const io::IoResult sent = co_await client_.send_body(part, now() + times_.send);
  co_return sent.ok();
}

// ---- holding and leaving

bool GrpcCall::is_stream() const {
  if (request_open_) return answered_ || up_.count() > 0 || up_.at_boundary();
  return answered_ || last_up_ + times_.unanswered <= now();
}

bool GrpcCall::is_quiet() const {
  return (up_.at_boundary() || !request_open_) && last_up_ + times_.settle <= now();
}

// The only message of a unary answer, as far as can be told, or its end is still to come.
bool GrpcCall::ends_soon() const {
  if (!answered_ || request_open_ || down_.count() > 1) return false;
  const bool inside_first = down_.count() == 0 && !down_.at_boundary();
  return inside_first || last_down_ + times_.settle > now();
}

void GrpcCall::carry_on() {
  silent_ = false;
  leave_until_ = io::kNever;
  may_send_.set();
}

bool GrpcCall::may_leave() {
  if (!is_stream() || ends_soon()) return false;
  silent_ = true;
  if (leave_until_ == io::kNever) leave_until_ = now() + kLeaveTime;
  return is_quiet() || leave_until_ <= now();
}

void GrpcCall::leave(int) {
  leaving_ = woken_ = true;
  leave_until_ = now() + kLeaveTime;
  upstream_.stop_reading();
}

}  // namespace banyan::gateway
