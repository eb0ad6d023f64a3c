#include "planes/gateway/tunnel.h"

#include <algorithm>
#include <utility>

namespace banyan::gateway {
namespace {

constexpr std::size_t kAnySize = ~std::size_t{0};
constexpr int kGoingAway = 1001;
constexpr Duration kEndTime = 2s;  // for the backend, told by the gateway itself

}  // namespace

Tunnel::Tunnel(io::Loop& loop, Client& client, Upstream& upstream, std::string_view first,
               Options options)
    : loop_(loop),
      client_(client),
      upstream_(upstream),
      options_(options),
      last_pumped_(loop.now()),
      up_done_(loop) {
  (void)follow(down_, first);
}

void Tunnel::leave(int close_code) {
  close_code_ = close_code;
  leave_until_ = after(kLeaveTime);
  down_.leaving = down_.woken = true;
  upstream_.stop_reading();
}

io::Task<void> Tunnel::run() {
  up();
  const End end = co_await pump(upstream_, client_, down_);
  if (end == End::kLeft) co_await leave_client();
  (void)co_await up_done_.wait();  // each side ends the other
}

io::Detached Tunnel::up() {
  // What the client sent too early was kept from the upstream until it agreed to switch.
  const BodyPart early{.bytes = follow(up_, client_.take_received())};
  const io::IoResult sent = co_await upstream_.send_body(early, after(options_.idle));
  End end = End::kBroken;
  if (sent.ok()) end = co_await pump(client_, upstream_, up_);
  const bool hears = end != End::kBroken && down_.leaving;
  if (hears) co_await close_upstream();
  up_done_.set();
}

bool Tunnel::has_frames() const {
  return options_.is_websocket && !down_.frames.malformed();
}

bool Tunnel::may_leave(const Flow& flow) const {
  return flow.leaving && (!has_frames() || flow.frames.at_boundary());
}

// What of it goes on: when leaving only the rest of the frame that is under way.
std::string_view Tunnel::follow(Flow& flow, std::string_view bytes) const {
  if (!options_.is_websocket) return bytes;
  using Stop = http::WebSocketFollower::Stop;
  return bytes.substr(0, flow.frames.take(bytes, flow.leaving ? Stop::kAtFrameEnd : Stop::kNever));
}

// Until `from` ends, which `to` is told, or either breaks, which ends both, or the flow is left.
io::Task<Tunnel::End> Tunnel::pump(Side& from, Side& to, Flow& flow) {
  while (!may_leave(flow)) {
    const Mono until = std::min(after(options_.idle), flow.leaving ? leave_until_ : io::kNever);
    const BodyPiece got = co_await from.read_body(kAnySize, until);
    if (got.status == io::IoStatus::kCancelled && std::exchange(flow.woken, false)) continue;
    const bool other_way_active = last_pumped_ + options_.idle > loop_.now() && !flow.leaving;
    if (got.status == io::IoStatus::kTimeout && other_way_active) continue;
    if (got.status == io::IoStatus::kEnd) {
      if (&flow == &down_) end_client();
      if (&flow == &up_ && !down_.leaving) to.end_sending();
      co_return End::kEnded;
    }
    io::IoResult sent{io::IoStatus::kFailed, 0};
    const BodyPart next{.bytes = follow(flow, got.bytes)};
    if (got.ok()) sent = co_await to.send_body(next, after(options_.idle));
    if (!sent.ok()) {
      cut();
      co_return End::kBroken;
    }
    flow.bytes += next.bytes.size();
    last_pumped_ = loop_.now();
    if (&flow == &up_ && down_.leaving && flow.frames.closed()) end_client();
  }
  co_return End::kLeft;
}

// ---- leaving

io::Task<void> Tunnel::leave_client() {
  if (!has_frames()) {
    cut();
    co_return;
  }
  const std::string close = http::close_frame(close_code_);
  if (!down_.frames.closed()) {
    const io::IoResult told = co_await client_.send_body({.bytes = close}, leave_until_);
    if (!told.ok()) cut();
  }
  co_await discard(after(kLeaveTime));
  if (!up_done_.is_set() && !upstream_ended_) {
    up_.leaving = up_.woken = true;
    leave_until_ = after(kEndTime);
    client_.stop_reading();
    co_await discard(leave_until_);
  }
  end_client();
  if (!co_await up_done_.wait(after(kEndTime))) cut();
}

// What the backend still says is for nobody.
io::Task<void> Tunnel::discard(Mono until) {
  io::IoStatus status = io::IoStatus::kOk;
  while (status == io::IoStatus::kOk)
    status = (co_await upstream_.read_body(kAnySize, until)).status;
  upstream_ended_ = status == io::IoStatus::kEnd || status == io::IoStatus::kFailed;
}

// The client's own Close was its last word, or this is.
io::Task<void> Tunnel::close_upstream() {
  const std::string close = http::masked_close_frame(kGoingAway, options_.mask);
  if (has_frames() && up_.frames.at_boundary() && !up_.frames.closed())
    (void)co_await upstream_.send_body({.bytes = close}, after(kEndTime));  // it is left anyway
  upstream_.end_sending();
}

void Tunnel::end_client() {
  if (!std::exchange(client_ended_, true)) client_.end_sending();
}

void Tunnel::cut() {
  client_.cancel();
  upstream_.cancel();
}

}  // namespace banyan::gateway
