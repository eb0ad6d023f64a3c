#include "planes/gateway/http2_stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/gateway/exchange.h"
#include "planes/gateway/grpc.h"
#include "planes/gateway/http2_session.h"
#include "planes/gateway/http2_text.h"
#include "planes/gateway/worker.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

constexpr Duration kReplyTime = 5s;
constexpr std::string_view kText = "text/plain; charset=utf-8";

}  // namespace

Http2Stream::Http2Stream(Http2Session& session, h2::StreamId id, const h2::Head& head)
    : session_(session),
      id_(id),
      head_text_(head.too_large ? "" : http1_text(head)),
      too_large_(head.too_large),
      is_head_request_(pseudo_of(head.fields).method == "HEAD"),
      is_tunnel_request_(is_extended_connect(pseudo_of(head.fields))),
      readable_(session.worker_.loop()),
      writable_(session.worker_.loop()) {
  incoming_.done = head.ends == h2::Ends::kYes || is_tunnel_request_;
}

const std::string& Http2Stream::ip() const {
  return session_.session_.ip();
}
std::string_view Http2Stream::scheme() const {
  return session_.session_.scheme();
}
std::string_view Http2Stream::certificate_lines() const {
  return session_.session_.certificate_lines();
}

io::Task<void> Http2Stream::serve() {
  Worker& worker = session_.worker_;
  if (too_large_) co_return co_await refuse(431, "head too large");
  http::Head& head = worker.head();
  const http::Parsed parsed = http::parse_request(head_text_, head);
  const bool whole = parsed.outcome == http::Outcome::kComplete && parsed.size == head_text_.size();
  if (!whole) {
    const bool refused = parsed.outcome == http::Outcome::kRefused && !head_text_.empty();
    co_return co_await refuse(refused ? parsed.status : 400,
                              refused ? parsed.reason : "malformed request");
  }
  incoming_.bytes_left = incoming_.done ? 0 : head.content_length;
  awaits_continue_ = head.expects_continue && !incoming_.done;
  Exchange exchange(worker, *this, head);
  head_text_ = {};
  exchange_ = &exchange;
  const Answered answered = co_await exchange.run();
  exchange_ = nullptr;
  if (answered == Answered::kNotFully && !gone_)
    session_.connection_.reset(id_, h2::ErrorCode::kInternal);
}

io::Task<void> Http2Stream::refuse(int status, std::string_view why) {
  GatewayMetrics& metrics = session_.worker_.metrics();
  metrics.count_refused("http/2 request refused");
  metrics.count_own_reply(status);
  const std::string text = fmt::format("{} {}: {}\n", status, http::reason_phrase(status), why);
  const Mono deadline = session_.worker_.loop().now() + kReplyTime;
  (void)co_await reply({.status = status, .text = text}, deadline);
}

// ---- from the connection

void Http2Stream::add_data(std::string_view bytes) {
  pending_.append(bytes);
  readable_.set();
}

void Http2Stream::add_trailers(std::span<const h2::Field> fields) {
  incoming_.malformed |= !append_trailers(trailers_, fields);
}

void Http2Stream::end_data() {
  ended_ = true;
  if (pending_.empty() && !is_tunnel_request_) incoming_.done = true;
  readable_.set();
}

void Http2Stream::lose() {
  if (std::exchange(gone_, true)) return;
  readable_.set();
  writable_.set();
  if (exchange_ != nullptr) exchange_->cancel();
}

// ---- the request's body

// What was taken has gone on: the client may send as much again.
void Http2Stream::pass_on() {
  if (taken_.empty()) return;
  session_.connection_.consume(id_, taken_.size());
  session_.wake_writer();
  taken_.clear();
}

std::string_view Http2Stream::take_pending() {
  pass_on();
  taken_ = std::exchange(pending_, {});
  incoming_.bytes += taken_.size();
  incoming_.bytes_left -= std::min<std::uint64_t>(incoming_.bytes_left, taken_.size());
  if (!is_tunnel_request_) incoming_.done = ended_;
  return taken_;
}

std::string_view Http2Stream::take_received() {
  return take_pending();
}

io::Task<BodyPiece> Http2Stream::read_body(std::size_t, Mono deadline) {
  pass_on();
  while (pending_.empty() && !ended_ && !gone_) {
    readable_.reset();
    const bool told = co_await readable_.wait(deadline);
    if (std::exchange(stop_reading_, false))
      co_return BodyPiece{.status = io::IoStatus::kCancelled};
    if (!told) co_return BodyPiece{.status = io::IoStatus::kTimeout};
  }
  if (gone_ && pending_.empty()) co_return BodyPiece{.status = io::IoStatus::kFailed};
  const bool at_end = pending_.empty();
  const std::string_view bytes = take_pending();
  const bool tunnel_ended = at_end && is_tunnel_request_;
  co_return BodyPiece{.status = tunnel_ended ? io::IoStatus::kEnd : io::IoStatus::kOk,
                      .bytes = bytes};
}

void Http2Stream::stop_reading() {
  stop_reading_ = true;
  readable_.set();
}

// ---- the answer

io::IoResult Http2Stream::state() const {
  return {gone_ ? io::IoStatus::kFailed : io::IoStatus::kOk, 0};
}

io::Task<bool> Http2Stream::probe(Mono) {
  co_return !gone_;
}

io::Task<io::IoResult> Http2Stream::send_continue(Mono) {
  awaits_continue_ = false;
  const h2::Field status{":status", "100"};
  session_.connection_.interim(id_, {&status, 1});
  session_.wake_writer();
  co_return state();
}

namespace {

// What of a response goes on to an HTTP/2 client.
bool goes_on(const http::Field& field) {
  return !field.hop_by_hop && field.id != http::FieldId::kVia &&
         field.id != http::FieldId::kTransferEncoding;
}

}  // namespace

io::Task<io::IoResult> Http2Stream::send_interim(const http::Head& head, Mono) {
  const std::string status = std::to_string(head.status);
  std::vector<h2::Field> fields = {{":status", status}};
  for (const http::Field& field : head.fields())
    if (goes_on(field)) fields.push_back({field.name, field.value});
  session_.connection_.interim(id_, fields);
  session_.wake_writer();
  co_return state();
}

// An answer that is trailers only: gRPC knows no other failure.
void Http2Stream::reply_grpc(const OwnAnswer& answer) {
  const std::string status = std::to_string(answer.grpc_status);
  const std::string message = grpc_message(answer.text);
  const h2::Field fields[] = {{":status", "200"},
                              {"content-type", "application/grpc"},
                              {"grpc-status", status},
                              {"grpc-message", message}};
  session_.connection_.respond(id_, fields, h2::Ends::kYes);
  session_.wake_writer();
}

io::Task<io::IoResult> Http2Stream::reply(OwnAnswer answer, Mono) {
  if (answer.grpc_status != 0) {
    reply_grpc(answer);
    co_return state();
  }
  const std::string status = std::to_string(answer.status);
  const std::string length = std::to_string(answer.text.size());
  const std::string retry = std::to_string(answer.retry_after_s);
  std::vector<h2::Field> fields = {
      {":status", status},        {"content-type", answer.type.empty() ? kText : answer.type},
      {"content-length", length}, {"cache-control", "no-store"},
      {"via", "1.1 banyan"},      {"date", session_.worker_.date()}};
  if (answer.retry_after_s > 0) fields.push_back({"retry-after", retry});
  for (const h2::Field& field : fields_of_lines(answer.fields)) fields.push_back(field);
  const ListenerPlan& listener = session_.session_.listener();
  for (const h2::Field& field : fields_of_lines(listener.hsts)) fields.push_back(field);
  session_.connection_.respond(id_, fields, is_head_request_ ? h2::Ends::kYes : h2::Ends::kNo);
  if (!is_head_request_) session_.connection_.send(id_, answer.text, h2::Ends::kYes);
  session_.wake_writer();
  co_return state();
}

io::Task<io::IoResult> Http2Stream::respond(const http::Head& head, BodyForm form, BodyPart first,
                                            Mono deadline) {
  response_.begin(form == BodyForm::kChunked ? BodyWriter::Mode::kDecode : BodyWriter::Mode::kPass);
  const bool switches = head.status == 101;  // for RFC 8441 that is a plain success
  const std::string status = std::to_string(switches ? 200 : head.status);
  std::vector<h2::Field> fields;
  fields.reserve(head.fields().size() + 4);  // its own, and those added here
  fields.push_back({":status", status});
  for (const http::Field& field : head.fields())
    if (goes_on(field) && !(switches && http::equals_lower(field.name, "sec-websocket-accept")))
      fields.push_back({field.name, field.value});
  fields.push_back({"via", "1.1 banyan"});
  const std::string_view hsts = session_.session_.listener().hsts_for(head);
  for (const h2::Field& field : fields_of_lines(hsts)) fields.push_back(field);
  if (head.find(http::FieldId::kDate) == nullptr)
    fields.push_back({"date", session_.worker_.date()});
  const bool ends = first.last && first.bytes.empty() && first.trailers.empty() && !switches;
  session_.connection_.respond(id_, fields, ends ? h2::Ends::kYes : h2::Ends::kNo);
  if (!ends) put(first);
  session_.wake_writer();
  return drained(deadline);
}

void Http2Stream::put(const BodyPart& part) {
  const BodyWriter::Pieces body = response_.write(part);
  const std::string_view trailers = part.last ? response_.trailers(part) : std::string_view();
  const bool ends = part.last && trailers.empty();
  session_.connection_.send(id_, body.first, ends ? h2::Ends::kYes : h2::Ends::kNo);
  if (!trailers.empty()) session_.connection_.send_trailers(id_, fields_of_lines(trailers));
}

io::Task<io::IoResult> Http2Stream::send_body(BodyPart part, Mono deadline) {
  put(part);
  session_.wake_writer();
  return drained(deadline);
}

// Until little enough waits.
io::Task<io::IoResult> Http2Stream::drained(Mono deadline) {
  while (!gone_ && session_.connection_.waiting(id_) >= h2::Connection::kWaitingHigh) {
    writable_.reset();
    if (!co_await writable_.wait(deadline)) co_return io::IoResult{io::IoStatus::kTimeout, 0};
  }
  co_return state();
}

// ---- after an extended CONNECT was accepted

void Http2Stream::begin_tunnel() {
  incoming_.done = false;
  observer_ = nullptr;
}

void Http2Stream::end_sending() {
  session_.connection_.send(id_, {}, h2::Ends::kYes);
  session_.wake_writer();
}

void Http2Stream::cancel() {
  if (!gone_) session_.connection_.reset(id_, h2::ErrorCode::kCancel);
  session_.wake_writer();
  lose();
}

}  // namespace banyan::gateway
