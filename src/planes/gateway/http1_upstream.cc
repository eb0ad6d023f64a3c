#include "planes/gateway/http1_upstream.h"

#include <algorithm>

#include "planes/gateway/pool.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kHeadRead = 64 * 1024;  // of a long body the rest passes by

}  // namespace

io::Task<Result<void>> Http1Upstream::connect(const EndpointPlan& to, Mono deadline) {
  const std::shared_ptr<const io::TlsClient> tls = to.tls;
  Result<void> connected = co_await socket_.connect(to.resolved, deadline);
  if (!connected || !tls) co_return connected;
  co_return co_await socket_.start_tls(*tls, deadline);
}

io::Task<io::IoResult> Http1Upstream::send_request(const OutgoingRequest& request, BodyPart first,
                                                   Mono deadline) {
  const bool encodes =
      request.framing == http::Framing::kChunked && request.form == BodyForm::kPlain;
  request_.begin(encodes ? BodyWriter::Mode::kEncode : BodyWriter::Mode::kPass);
  answers_ = request.answers;
  keep_alive_ = false;
  incoming_ = {.done = false};
  if (!encodes) co_return co_await socket_.send(request.head, first.bytes, deadline);
  const BodyWriter::Pieces body = request_.write(first);
  const std::string head = std::string(request.head).append(body.first);
  co_return co_await socket_.send(head, body.second, deadline);
}

io::Task<io::IoResult> Http1Upstream::send_body(BodyPart part, Mono deadline) {
  const BodyWriter::Pieces body = request_.write(part);
  co_return co_await socket_.send(body.first, body.second, deadline);
}

io::Task<Upstream::HeadEnd> Http1Upstream::receive_head(http::Head& head, Mono deadline) {
  while (true) {
    if (!inbox_.empty()) {
      const http::Parsed parsed = http::parse_response(inbox_.bytes(), answers_, head);
      if (parsed.outcome == http::Outcome::kComplete) co_return finish_head(head, parsed.size);
      if (parsed.outcome == http::Outcome::kRefused) co_return HeadEnd::kRefused;
    }
    inbox_.keep();
    const std::span<char> scratch = socket_.loop().scratch().first(kHeadRead);
    const io::IoResult got = co_await socket_.recv(scratch, deadline);
    if (got.status == io::IoStatus::kTimeout) co_return HeadEnd::kLate;
    if (!got.ok()) co_return HeadEnd::kEnded;
    inbox_.add({scratch.data(), got.bytes});
  }
}

Upstream::HeadEnd Http1Upstream::finish_head(const http::Head& head, std::size_t size) {
  inbox_.use(size);
  if (head.status / 100 == 1 && head.status != 101) {
    if (!inbox_.empty()) inbox_.keep();  // what follows; the head itself stays where it is
    return HeadEnd::kComplete;
  }
  response_ = BodyFollower(head);
  keep_alive_ = head.keep_alive;
  const bool chunked = head.framing == http::Framing::kChunked;
  incoming_ = {.form = chunked ? BodyForm::kChunked : BodyForm::kPlain, .done = response_.done()};
  return HeadEnd::kComplete;
}

std::string_view Http1Upstream::take_received() {
  if (inbox_.empty() || incoming_.done) return {};
  return take(inbox_.take());
}

io::Task<BodyPiece> Http1Upstream::read_body(std::size_t most, Mono deadline) {
  const std::span<char> all = socket_.loop().scratch();
  const std::span<char> scratch = all.first(std::min(most, all.size()));
  const io::IoResult got = co_await socket_.recv(scratch, deadline);
  if (got.status == io::IoStatus::kEnd && !tunnel_) incoming_.done = response_.finish_at_close();
  if (!got.ok()) co_return BodyPiece{.status = got.status};
  co_return BodyPiece{.bytes = take({scratch.data(), got.bytes})};
}

std::string_view Http1Upstream::take(std::string_view bytes) {
  if (tunnel_) return bytes;
  const BodyFollower::Passed passed = response_.pass(bytes);
  if (passed.taken < bytes.size()) keep_alive_ = false;  // it says more than it was asked
  incoming_.done = response_.done();
  incoming_.malformed = response_.malformed();
  incoming_.bytes = response_.bytes();
  return passed.body;
}

Side::Unseen Http1Upstream::unseen_source() {
  const bool is_plain =
      !tunnel_ && response_.framing() == http::Framing::kLength && socket_.tls() == nullptr;
  return {.socket = &socket_, .bytes = is_plain ? response_.bytes_left() : 0};
}

void Http1Upstream::note_passed_by(std::uint64_t bytes) {
  response_.skip(bytes);
  incoming_.done = response_.done();
  incoming_.bytes = response_.bytes();
}

bool Http1Upstream::is_reusable() const {
  return keep_alive_ && !cancelled_ && !tunnel_ && incoming_.done && !socket_.peer_ended() &&
         !socket_.is_broken() && response_.framing() != http::Framing::kUntilClose &&
         inbox_.empty();
}

void Http1Upstream::set_idle(bool idle) {
  socket_.set_idle_observer(idle ? this : nullptr);
  inbox_.keep();
}

void Http1Upstream::begin_tunnel() {
  tunnel_ = true;
  incoming_.done = false;
  request_.begin(BodyWriter::Mode::kPass);
}

void Http1Upstream::cancel() {
  cancelled_ = true;
  socket_.cancel();
}

// An event may be older than what was read since.
void Http1Upstream::on_idle_activity(io::Socket&) {
  if (!socket_.is_quiet()) endpoint_.drop_idle(*this);
}

}  // namespace banyan::gateway
