#include "planes/gateway/http2_upstream.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <vector>

#include "planes/gateway/http2_text.h"
#include "planes/gateway/pool.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kRead = 64 * 1024;
constexpr Duration kPatience = 60s;
constexpr std::uint32_t kStreamsMax = 100;

bool has_no_body(int status, http::Answers answers) {
  return answers == http::Answers::kHead || status / 100 == 1 || status == 204 || status == 304;
}

// RFC 6455, section 4.2.2.
std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<unsigned char, 4 * (SHA_DIGEST_LENGTH + 2) / 3 + 1> out{};
  const int size = EVP_EncodeBlock(out.data(), digest.data(), digest.size());
  return {reinterpret_cast<const char*>(out.data()), static_cast<std::size_t>(size)};
}

bool is_accepted(const h2::Head& head) {
  return !head.too_large && !head.fields.empty() && head.fields.front().name == ":status" &&
         head.fields.front().value == "200";
}

// An extended CONNECT that was accepted, as the answer to the upgrade it was made of.
std::string switching_text(const h2::Head& head, std::string_view accept) {
  std::string out = fmt::format(
      "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
      "sec-websocket-accept: {}\r\n",
      accept);
  append_lines(out, head.fields.subspan(1));
  return out.append("\r\n");
}

// The head of an answer as HTTP/1 text; empty: it has no valid status.
std::string answer_text(const h2::Head& head, http::Answers answers) {
  if (head.too_large || head.fields.empty() || head.fields.front().name != ":status") return {};
  const std::string_view status = head.fields.front().value;
  std::string out = fmt::format("HTTP/1.1 {} \r\n", status);
  bool has_length = false;
  for (const h2::Field& field : head.fields.subspan(1)) {
    has_length |= field.name == "content-length";
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  const int code = status.size() == 3 ? std::atoi(std::string(status).c_str()) : 0;
  if (!has_length && !has_no_body(code, answers))
    out.append(head.ends == h2::Ends::kYes ? "content-length: 0\r\n"
                                           : "transfer-encoding: chunked\r\n");
  return out.append("\r\n");
}

bool goes_up(const http::Field& field) {
  return !field.hop_by_hop && field.id != http::FieldId::kHost &&
         field.id != http::FieldId::kTransferEncoding;
}

// A handshake's key says nothing on a stream, and the upgrade is the method there.
bool goes_up_in_tunnel(const http::Field& field) {
  return goes_up(field) && field.id != http::FieldId::kUpgrade &&
         !http::equals_lower(field.name, "sec-websocket-key");
}

std::vector<h2::Field> request_fields(const http::Head& head, std::string_view scheme,
                                      bool is_tunnel) {
  std::vector<h2::Field> fields = {{":method", is_tunnel ? "CONNECT" : head.method},
                                   {":scheme", scheme},
                                   {":authority", head.authority},
                                   {":path", head.path}};
  if (is_tunnel) fields.push_back({":protocol", "websocket"});
  for (const http::Field& field : head.fields())
    if (is_tunnel ? goes_up_in_tunnel(field) : goes_up(field))
      fields.push_back({field.name, field.value});
  if (!is_tunnel) fields.push_back({"te", "trailers"});
  return fields;
}

}  // namespace

// ---- the connection

Http2Link::Http2Link(io::Loop& loop, const EndpointPlan& plan, h2::WindowBudget& budget)
    : loop_(loop),
      plan_(plan),
      socket_(loop),
      connection_({.role = h2::Role::kClient, .budget = &budget}, *this),
      writer_(socket_, connection_, kPatience),
      scratch_(std::make_unique<http::Head>()),
      settled_(loop),
      idle_since_(loop.now()) {}

io::Task<Result<void>> Http2Link::connect(Mono deadline) {
  Result<void> connected = co_await socket_.connect(plan_.resolved, deadline);
  if (connected && plan_.tls) connected = co_await socket_.start_tls(*plan_.tls, deadline);
  if (connected && plan_.tls && io::alpn_of(*socket_.tls()) != "h2")
    connected = failure(Code::kUnavailable, "the service does not speak HTTP/2 over TLS");
  if (connected)
    read(shared_from_this());
  else
    over_ = true;
  co_return connected;
}

io::Task<bool> Http2Link::takes_websockets(Mono deadline) {
  while (!over_ && !connection_.peer_takes_websockets())
    if (!co_await settled_.wait(deadline)) co_return false;
  co_return !over_ && *connection_.peer_takes_websockets();
}

bool Http2Link::has_room() const {
  const std::size_t most = std::min(kStreamsMax, connection_.peer_streams_max());
  return !leaving_ && !over_ && streams_.size() < most;
}

void Http2Link::leave() {
  if (!std::exchange(leaving_, true)) connection_.end();
  writer_.wake();
  if (streams_.empty()) socket_.cancel_recv();
}

void Http2Link::cancel() {
  leaving_ = true;
  socket_.cancel();
}

io::Detached Http2Link::read([[maybe_unused]] std::shared_ptr<Http2Link> self) {
  writer_.run();
  while (!leaving_ || !streams_.empty()) {
    const std::span<char> scratch = loop_.scratch().first(kRead);
    const io::IoResult got = co_await socket_.recv(scratch, io::kNever);
    if (!got.ok() || !connection_.feed({scratch.data(), got.bytes}, loop_.now())) break;
    if (connection_.peer_takes_websockets()) settled_.set();
    writer_.wake();
  }
  over_ = true;
  settled_.set();
  for (auto& [id, stream] : streams_) stream->note_closed(h2::ErrorCode::kInternal);
  co_await writer_.finish();
  socket_.close();
}

void Http2Link::forget(h2::StreamId stream) {
  streams_.erase(stream);
  has_served_ = true;
  idle_since_ = loop_.now();
  if (leaving_ && streams_.empty()) socket_.cancel_recv();
}

Http2Upstream* Http2Link::find(h2::StreamId stream) {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second;
}

void Http2Link::on_head(h2::StreamId stream, const h2::Head& head) {
  Http2Upstream* const to = find(stream);
  if (to == nullptr) return;
  to->heads_.push_back(to->asks_for_tunnel() && is_accepted(head)
                           ? switching_text(head, to->accept_)
                           : answer_text(head, to->answers_));
  to->readable_.set();
}

void Http2Link::on_trailers(h2::StreamId stream, std::span<const h2::Field> fields) {
  if (Http2Upstream* const to = find(stream))
    to->incoming_.malformed |= !append_trailers(to->trailers_, fields);
}

void Http2Link::on_data(h2::StreamId stream, std::string_view bytes) {
  Http2Upstream* const to = find(stream);
  if (to == nullptr) return;
  to->pending_.append(bytes);
  to->readable_.set();
}

void Http2Link::on_end(h2::StreamId stream) {
  Http2Upstream* const to = find(stream);
  if (to == nullptr) return;
  to->ended_ = true;
  if (to->pending_.empty()) to->incoming_.done = true;
  to->readable_.set();
}

void Http2Link::on_writable(h2::StreamId stream) {
  if (Http2Upstream* const to = find(stream)) to->writable_.set();
}

void Http2Link::on_closed(h2::StreamId stream, h2::ErrorCode error) {
  if (Http2Upstream* const to = find(stream)) to->note_closed(error);
}

void Http2Link::on_goaway(h2::StreamId) {
  leaving_ = true;  // streams beyond the last one are closed as refused
}

// ---- a stream

Http2Upstream::Http2Upstream(Endpoint& endpoint, std::shared_ptr<Http2Link> link)
    : Upstream(endpoint), link_(std::move(link)), readable_(link_->loop_), writable_(link_->loop_) {
  if (link_->has_served()) note_reuse();
}

Http2Upstream::~Http2Upstream() {
  if (id_ <= 0) return;
  if (link_->connection_.is_open(id_)) link_->connection_.reset(id_, h2::ErrorCode::kCancel);
  link_->writer_.wake();
  link_->forget(id_);
}

// Into the link's scratch head, which other streams use as soon as we wait.
bool Http2Upstream::parse(const OutgoingRequest& request) const {
  const auto parsed = http::parse_request(request.head, *link_->scratch_);
  return parsed.outcome == http::Outcome::kComplete;
}

io::Task<bool> Http2Upstream::ask_for_tunnel(Mono deadline) {
  const http::Head& head = *link_->scratch_;
  const http::Field* const to = head.find(http::FieldId::kUpgrade);
  const http::Field* const key = head.find("sec-websocket-key");
  if (to == nullptr || !http::equals_lower(to->value, "websocket") || key == nullptr)
    co_return false;
  accept_ = websocket_accept(key->value);
  co_return co_await link_->takes_websockets(deadline);
}

io::Task<io::IoResult> Http2Upstream::send_request(const OutgoingRequest& request, BodyPart first,
                                                   Mono deadline) {
  bool may_send = parse(request);
  if (may_send && link_->scratch_->is_upgrade)
    may_send = co_await ask_for_tunnel(deadline) && parse(request);
  if (!may_send || !link_->has_room()) {
    refused_ = !link_->has_room();
    co_return io::IoResult{io::IoStatus::kFailed, 0};
  }
  const bool is_whole = first.last && first.bytes.empty() && first.trailers.empty();
  const bool ends = is_whole && !asks_for_tunnel();
  answers_ = request.answers;
  incoming_ = {.done = false};
  const auto fields =
      request_fields(*link_->scratch_, link_->plan_.tls ? "https" : "http", asks_for_tunnel());
  id_ = link_->connection_.request(fields, ends ? h2::Ends::kYes : h2::Ends::kNo);
  if (id_ <= 0) co_return io::IoResult{io::IoStatus::kFailed, 0};
  link_->streams_.emplace(id_, this);
  request_.begin(request.form == BodyForm::kChunked ? BodyWriter::Mode::kDecode
                                                    : BodyWriter::Mode::kPass);
  if (!is_whole) put(first);
  link_->writer_.wake();
  io::IoResult sent = co_await drained(deadline);
  sent.bytes = request.head.size();
  co_return sent;
}

void Http2Upstream::put(const BodyPart& part) {
  const std::string_view bytes = request_.write(part).first;
  const std::string_view trailers = part.last ? request_.trailers(part) : std::string_view();
  const bool ends = part.last && trailers.empty();
  link_->connection_.send(id_, bytes, ends ? h2::Ends::kYes : h2::Ends::kNo);
  if (!trailers.empty()) link_->connection_.send_trailers(id_, fields_of_lines(trailers));
}

io::Task<io::IoResult> Http2Upstream::send_body(BodyPart part, Mono deadline) {
  put(part);
  link_->writer_.wake();
  return drained(deadline);
}

io::Task<io::IoResult> Http2Upstream::drained(Mono deadline) {
  while (!is_lost() && link_->connection_.waiting(id_) >= h2::Connection::kWaitingHigh) {
    writable_.reset();
    if (!co_await writable_.wait(deadline)) co_return io::IoResult{io::IoStatus::kTimeout, 0};
  }
  co_return io::IoResult{is_lost() ? io::IoStatus::kFailed : io::IoStatus::kOk, 0};
}

io::Task<Upstream::HeadEnd> Http2Upstream::receive_head(http::Head& head, Mono deadline) {
  while (heads_.empty() && !is_lost()) {
    readable_.reset();
    if (!co_await readable_.wait(deadline)) co_return HeadEnd::kLate;
  }
  if (heads_.empty() || cancelled_) co_return HeadEnd::kEnded;
  head_ = std::move(heads_.front());
  heads_.pop_front();
  const http::Parsed parsed = http::parse_response(head_, answers_, head);
  if (parsed.outcome != http::Outcome::kComplete) co_return HeadEnd::kRefused;
  if (head.status / 100 != 1 || head.status == 101)
    incoming_ = {.done = ended_ && pending_.empty(), .malformed = incoming_.malformed};
  co_return HeadEnd::kComplete;
}

void Http2Upstream::pass_on() {
  if (taken_.empty()) return;
  link_->connection_.consume(id_, taken_.size());
  link_->writer_.wake();
  taken_.clear();
}

std::string_view Http2Upstream::take_received() {
  pass_on();
  taken_ = std::exchange(pending_, {});
  incoming_.bytes += taken_.size();
  incoming_.done = ended_;
  return taken_;
}

io::Task<BodyPiece> Http2Upstream::read_body(std::size_t, Mono deadline) {
  pass_on();
  while (pending_.empty() && !ended_ && !is_lost()) {
    readable_.reset();
    const bool told = co_await readable_.wait(deadline);
    if (std::exchange(stop_reading_, false))
      co_return BodyPiece{.status = io::IoStatus::kCancelled};
    if (!told) co_return BodyPiece{.status = io::IoStatus::kTimeout};
  }
  if (cancelled_ || (pending_.empty() && !ended_))
    co_return BodyPiece{.status = io::IoStatus::kFailed};
  if (is_tunnel_ && pending_.empty()) co_return BodyPiece{.status = io::IoStatus::kEnd};
  co_return BodyPiece{.bytes = take_received()};
}

void Http2Upstream::end_sending() {
  link_->connection_.send(id_, {}, h2::Ends::kYes);
  link_->writer_.wake();
}

void Http2Upstream::stop_reading() {
  stop_reading_ = true;
  readable_.set();
}

void Http2Upstream::cancel() {
  cancelled_ = true;
  readable_.set();
  writable_.set();
}

void Http2Upstream::note_closed(h2::ErrorCode error) {
  refused_ |= error == h2::ErrorCode::kRefusedStream;
  lost_ = true;
  readable_.set();
  writable_.set();
}

}  // namespace banyan::gateway
