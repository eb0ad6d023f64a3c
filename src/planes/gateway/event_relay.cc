#include "planes/gateway/event_relay.h"

#include <utility>

namespace banyan::gateway {
namespace {

constexpr std::size_t kAnySize = ~std::size_t{0};
constexpr int kTurnsBeforeYield = 8;
constexpr std::string_view kLastChunk = "0\r\n\r\n";

http::EventStreamFollower follower_of(const http::Head& head, BodyForm form) {
  using Follower = http::EventStreamFollower;
  return {
      form == BodyForm::kChunked ? Follower::Body::kChunked : Follower::Body::kPlain,
      head.find("content-encoding") != nullptr ? Follower::Coding::kSome : Follower::Coding::kNone};
}

}  // namespace

EventRelay::EventRelay(io::Loop& loop, Client& client, Upstream& upstream, const Begin& begin,
                       Times times)
    : loop_(loop),
      client_(client),
      upstream_(upstream),
      has_length_(begin.head.framing == http::Framing::kLength),
      times_(times),
      events_(follower_of(begin.head, upstream.incoming().form)) {
  events_.take(begin.body);
}

void EventRelay::leave(int) {
  leaving_ = woken_ = true;
  leave_until_ = after(kLeaveTime);
  upstream_.stop_reading();
}

io::Task<bool> EventRelay::run() {
  const BodyProgress& body = upstream_.incoming();
  for (int turn = 1; !body.done && !may_end(); ++turn) {
    const Mono until = leaving_ ? leave_until_ : after(times_.idle);
    const BodyPiece got = co_await upstream_.read_body(kAnySize, until);
    if (got.status == io::IoStatus::kCancelled && std::exchange(woken_, false)) continue;
    if ((!got.ok() && !body.done) || body.malformed) co_return false;
    if (!co_await pass_on(got.bytes)) co_return false;
    if (turn % kTurnsBeforeYield == 0) co_await loop_.yield();
  }
  co_return body.done || co_await end();
}

io::Task<bool> EventRelay::pass_on(std::string_view bytes) {
  std::size_t taken = bytes.size();
  if (leaving_)
    taken = events_.take_to_boundary(bytes);
  else
    events_.take(bytes);
  bytes_ += taken;
  const bool last = upstream_.incoming().done;
  const BodyPart part{.bytes = last ? bytes : bytes.substr(0, taken),
                      .last = last,
                      .trailers = upstream_.trailers()};
  const io::IoResult sent = co_await client_.send_body(part, after(times_.send));
  co_return sent.ok();
}

// A whole answer, as far as the client can tell.
io::Task<bool> EventRelay::end() {
  if (has_length_) co_return false;
  const bool chunked = upstream_.incoming().form == BodyForm::kChunked;
  const BodyPart part{.bytes = chunked ? kLastChunk : std::string_view(), .last = true};
  const io::IoResult sent = co_await client_.send_body(part, after(times_.send));
  co_return sent.ok();
}

}  // namespace banyan::gateway
