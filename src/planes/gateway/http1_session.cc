#include "planes/gateway/http1_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/gateway/exchange.h"
#include "planes/gateway/worker.h"

namespace banyan::gateway {
namespace {

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr Duration kReplyTime = 5s;           // to hand a short reply to the kernel
constexpr Duration kLingerTime = 2s;          // for the client to read a reply while it sends
constexpr std::size_t kHeadRead = 64 * 1024;  // bounds what one client may pipeline at once
constexpr std::size_t kLingerBytes = 1 << 20;

std::string https_location(const http::Head& head, int port) {
  const std::string_view host = host_without_port(head.authority);
  if (host.empty()) return {};
  const std::string suffix = port == 443 ? "" : fmt::format(":{}", port);
  return fmt::format("https://{}{}{}", host, suffix, head.path);
}

}  // namespace

Http1Session::Http1Session(Worker& worker, Session& session)
    : worker_(worker), session_(session), socket_(session.socket()) {}

void Http1Session::close_if_idle() {
  if (idle_) socket_.cancel();
}

void Http1Session::cancel() {
  socket_.cancel();
  if (exchange_ != nullptr) exchange_->cancel();
}

// While the connection is idle there is this coroutine of it and no other.
io::Task<void> Http1Session::run() {
  Fate fate = Fate::kPersist;
  while (fate == Fate::kPersist) {
    if (inbox_.empty()) {
      inbox_.keep();
      idle_ = true;
      const Mono deadline = worker_.loop().now() + worker_.routing()->snapshot.limits.idle_ms;
      const io::IoResult got = co_await socket_.recv(head_room(), deadline);
      idle_ = false;
      if (!got.ok()) co_return;
      inbox_.add({head_room().data(), got.bytes});
    }
    HeadEnd end = parse_head();
    if (end == HeadEnd::kIncomplete) end = co_await receive_rest_of_head();
    speaks_http2_ = end == HeadEnd::kHttp2;
    if (end == HeadEnd::kGone || speaks_http2_) co_return;
    if (end == HeadEnd::kComplete) {
      fate = co_await answer();
    } else if (end == HeadEnd::kRefused) {
      note_severe();
      fate = co_await refuse(refused_status_, refused_reason_);
    } else {
      fate = co_await refuse(408, "head not received in time");
    }
  }
  if (fate == Fate::kLinger) co_await linger();
}

std::span<char> Http1Session::head_room() {
  return worker_.loop().scratch().first(kHeadRead);
}

io::Task<Http1Session::HeadEnd> Http1Session::receive_rest_of_head() {
  const Mono deadline = worker_.loop().now() + worker_.routing()->snapshot.limits.head_ms;
  while (true) {
    inbox_.keep();
    const io::IoResult got = co_await socket_.recv(head_room(), deadline);
    if (got.status == io::IoStatus::kTimeout) co_return HeadEnd::kLate;
    if (!got.ok()) co_return HeadEnd::kGone;
    inbox_.add({head_room().data(), got.bytes});
    const HeadEnd end = parse_head();
    if (end != HeadEnd::kIncomplete) co_return end;
  }
}

Http1Session::HeadEnd Http1Session::parse_head() {
  const http::HeadLimits limits{
      .head_bytes_max = static_cast<std::size_t>(worker_.routing()->snapshot.limits.head_bytes),
      .fields_max = static_cast<std::size_t>(worker_.routing()->snapshot.limits.fields)};
  const std::size_t seen = std::exchange(inspected_, inbox_.size());
  if (!http::head_may_be_complete(inbox_.bytes(), seen, limits)) return HeadEnd::kIncomplete;
  const http::Parsed parsed = http::parse_request(inbox_.bytes(), worker_.head(), limits);
  if (parsed.outcome == http::Outcome::kIncomplete) return HeadEnd::kIncomplete;
  if (parsed.outcome == http::Outcome::kRefused && is_http2_preface()) return HeadEnd::kHttp2;
  inspected_ = 0;
  head_size_ = parsed.size;
  refused_status_ = parsed.status;
  refused_reason_ = parsed.reason;
  return parsed.outcome == http::Outcome::kComplete ? HeadEnd::kComplete : HeadEnd::kRefused;
}

// Prior knowledge (RFC 9113 section 3.3): only as the first bytes, and only without TLS.
bool Http1Session::is_http2_preface() const {
  return !served_ && !session_.listener().tls && !must_redirect() &&
         inbox_.bytes().starts_with("PRI * HTTP/2.0\r\n\r\n");
}

void Http1Session::begin_request(const http::Head& head) {
  served_ = true;
  bodies_->request = BodyFollower(head);
  const bool chunked = head.framing == http::Framing::kChunked;
  incoming_ = {.form = chunked ? BodyForm::kChunked : BodyForm::kPlain,
               .done = bodies_->request.done(),
               .bytes_left = bodies_->request.bytes_left()};
  answers_ = head.method == "HEAD" ? http::Answers::kHead : http::Answers::kOther;
  minor_version_ = head.minor_version;
  keep_alive_ = head.keep_alive;
  is_ambiguous_ = http::judge(head.oddities).level == http::Desync::kAmbiguous;
  awaits_continue_ = head.expects_continue && head.minor_version >= 1;
  probed_ = false;
  persists_ = false;
}

// A head that was refused, but not for its size or for what it asks.
void Http1Session::note_severe() {
  if (refused_status_ != 400 && refused_status_ != 501 && refused_status_ != 505) return;
  worker_.metrics().count_desync(http::Desync::kSevere);
  if (!worker_.logs_requests()) return;
  worker_.log_request({.client = session_.ip(),
                       .reason = refused_reason_,
                       .desync = {http::Desync::kSevere, refused_reason_},
                       .status = refused_status_});
}

bool Http1Session::must_redirect() const {
  return session_.listener().spec.redirect_https_port != 0;
}

// To the same place over TLS; without a host there is no such place.
io::Task<Http1Session::Fate> Http1Session::redirect(const http::Head& head) {
  const std::string location = https_location(head, session_.listener().spec.redirect_https_port);
  inbox_.use(head_size_);
  inbox_.keep();
  if (location.empty()) co_return co_await refuse(400, "no host to redirect to");
  const bool persists = keep_alive_ && !is_ambiguous_ && incoming_.done && !worker_.is_draining();
  const std::string bytes = http::own_redirect(
      308, location, worker_.date(), persists ? http::Persist::kKeepAlive : http::Persist::kClose);
  worker_.metrics().count_own_reply(308);
  const io::IoResult sent = co_await socket_.send(bytes, worker_.loop().now() + kReplyTime);
  if (!sent.ok()) co_return Fate::kClose;
  co_return persists ? Fate::kPersist : Fate::kLinger;
}

io::Task<Http1Session::Fate> Http1Session::answer() {
  Bodies bodies;
  bodies_ = &bodies;
  begin_request(worker_.head());
  if (must_redirect()) {
    bodies_ = nullptr;
    co_return co_await redirect(worker_.head());
  }
  Exchange exchange(worker_, *this, worker_.head());
  inbox_.use(head_size_);
  inbox_.keep();
  exchange_ = &exchange;
  const Answered answered = co_await exchange.run();
  exchange_ = nullptr;
  bodies_ = nullptr;
  inspected_ = 0;
  // Closing without an end is how the client learns that the body is cut off.
  if (answered == Answered::kNotFully || tunnel_) co_return Fate::kClose;
  co_return persists_ ? Fate::kPersist : Fate::kLinger;
}

io::Task<Http1Session::Fate> Http1Session::refuse(int status, const char* reason) {
  worker_.metrics().count_refused(reason);
  worker_.metrics().count_own_reply(status);
  inbox_.keep();
  keep_alive_ = false;
  answers_ = http::Answers::kOther;
  const std::string text = fmt::format("{} {}: {}\n", status, http::reason_phrase(status), reason);
  const Mono deadline = worker_.loop().now() + kReplyTime;
  const io::IoResult sent = co_await reply({.status = status, .text = text}, deadline);
  co_return sent.ok() ? Fate::kLinger : Fate::kClose;
}

io::Task<void> Http1Session::linger() {
  socket_.shutdown_send();
  const Mono deadline = worker_.loop().now() + kLingerTime;
  std::size_t read = 0;
  while (read < kLingerBytes) {
    const io::IoResult got = co_await socket_.recv(worker_.loop().scratch(), deadline);
    if (!got.ok()) co_return;
    read += got.bytes;
  }
}

// ---- the request's body

BodyFollower::Passed Http1Session::follow(std::string_view bytes) {
  const BodyFollower::Passed passed = bodies_->request.pass(bytes);
  incoming_.has_extensions = bodies_->request.has_extensions();
  incoming_.done = bodies_->request.done();
  incoming_.malformed = bodies_->request.malformed();
  incoming_.bytes = bodies_->request.bytes();
  incoming_.bytes_left = bodies_->request.bytes_left();
  return passed;
}

std::string_view Http1Session::take_received() {
  if (incoming_.done) return {};
  if (tunnel_) return inbox_.take();
  const BodyFollower::Passed passed = follow(inbox_.bytes());
  inbox_.use(passed.taken);
  return passed.body;
}

io::Task<BodyPiece> Http1Session::read_body(std::size_t most, Mono deadline) {
  inbox_.keep();
  const std::span<char> all = worker_.loop().scratch();
  const std::span<char> scratch = all.first(std::min(most, all.size()));
  const io::IoResult got = co_await socket_.recv(scratch, deadline);
  if (!got.ok()) co_return BodyPiece{.status = got.status};
  const std::string_view bytes(scratch.data(), got.bytes);
  if (tunnel_) co_return BodyPiece{.bytes = bytes};
  const BodyFollower::Passed passed = follow(bytes);
  inbox_.add(bytes.substr(passed.taken));
  inbox_.keep();
  co_return BodyPiece{.bytes = passed.body};
}

io::Task<io::IoResult> Http1Session::send_continue(Mono deadline) {
  awaits_continue_ = false;
  co_return co_await socket_.send(kContinue, deadline);
}

// ---- whether it is still there

void Http1Session::set_observer(ClientObserver* observer) {
  observer_ = observer;
  socket_.set_idle_observer(observer != nullptr ? this : nullptr);
}

void Http1Session::on_idle_activity(io::Socket&) {
  observer_->on_client_activity();
}

// A client that is gone answers these bytes with a reset.
io::Task<bool> Http1Session::probe(Mono deadline) {
  if (!socket_.peer_ended() || minor_version_ == 0 || std::exchange(probed_, true)) co_return true;
  const io::IoResult probed = co_await socket_.send(kContinue, deadline);
  co_return probed.ok();
}

// ---- the answer

io::Task<io::IoResult> Http1Session::send_interim(const http::Head& head, Mono deadline) {
  if (minor_version_ == 0) co_return io::IoResult{};
  std::string& out = worker_.head_scratch();
  out.resize(http::client_head_bytes_max(head, {}));
  out.resize(http::write_client_head(head, {}, out.data()));
  co_return co_await socket_.send(out, deadline);
}

io::Task<io::IoResult> Http1Session::reply(OwnAnswer answer, Mono deadline) {
  persists_ = keep_alive_ && incoming_.done && !worker_.is_draining();
  const std::string fields = std::string(answer.fields).append(session_.listener().hsts);
  const std::string bytes =
      http::own_reply({.status = answer.status,
                       .body = answer.text,
                       .retry_after_s = answer.retry_after_s,
                       .type = answer.type,
                       .fields = fields,
                       .date = worker_.date(),
                       .persist = persists_ ? http::Persist::kKeepAlive : http::Persist::kClose,
                       .answers = answers_});
  co_return co_await socket_.send(bytes, deadline);
}

BodyWriter::Mode Http1Session::response_mode(const http::Head& head, BodyForm form) const {
  if (form == BodyForm::kChunked)
    return minor_version_ == 0 ? BodyWriter::Mode::kDecode : BodyWriter::Mode::kPass;
  const bool announces_chunks = head.framing == http::Framing::kChunked && minor_version_ >= 1;
  return announces_chunks ? BodyWriter::Mode::kEncode : BodyWriter::Mode::kPass;
}

io::Task<io::IoResult> Http1Session::respond(const http::Head& head, BodyForm form, BodyPart first,
                                             Mono deadline) {
  bodies_->response.begin(response_mode(head, form));
  const bool ends_by_closing = head.framing == http::Framing::kUntilClose ||
                               (minor_version_ == 0 && head.framing == http::Framing::kChunked);
  persists_ = keep_alive_ && incoming_.done && !worker_.is_draining() && !ends_by_closing;
  const http::ClientRewrite rewrite{
      .persist = persists_ ? http::Persist::kKeepAlive : http::Persist::kClose,
      .client_minor_version = minor_version_,
      .hsts = session_.listener().hsts_for(head),
      .date = head.find(http::FieldId::kDate) == nullptr ? worker_.date() : std::string_view()};
  std::string& out = worker_.head_scratch();
  out.resize(http::client_head_bytes_max(head, rewrite));
  out.resize(http::write_client_head(head, rewrite, out.data()));
  BodyWriter::Pieces body = bodies_->response.write(first);
  if (!body.second.empty()) out += body.first;
  co_return co_await socket_.send(out, body.second.empty() ? body.first : body.second, deadline);
}

io::Task<io::IoResult> Http1Session::send_body(BodyPart part, Mono deadline) {
  const BodyWriter::Pieces body = bodies_->response.write(part);
  co_return co_await socket_.send(body.first, body.second, deadline);
}

io::Socket* Http1Session::unseen_sink() {
  const bool as_is =
      bodies_->response.mode() == BodyWriter::Mode::kPass && socket_.tls() == nullptr;
  return as_is ? &socket_ : nullptr;
}

void Http1Session::begin_tunnel() {
  tunnel_ = true;
  incoming_.done = false;
  set_observer(nullptr);
}

}  // namespace banyan::gateway
