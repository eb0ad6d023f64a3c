#include "wire/h2/connection.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/check.h"

namespace banyan::h2 {
namespace {

constexpr std::size_t kPreface = 24;
constexpr std::size_t kFrameHeader = 9;
constexpr std::size_t kRemembered = 128;   // ids of streams that are no longer
constexpr std::int64_t kCheap = 1;         // a frame that must be read and answered
constexpr std::int64_t kCostly = 10;       // work begun and thrown away
constexpr std::size_t kTooLargeByFar = 2;  // times the bound of a head: not worth decoding

std::string_view view(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::vector<nghttp2_nv> to_nv(std::span<const Field> fields) {
  std::vector<nghttp2_nv> out;
  out.reserve(fields.size());
  for (const Field& field : fields)
    out.push_back({.name = reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.name.data())),
                   .value = reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.value.data())),
                   .namelen = field.name.size(),
                   .valuelen = field.value.size(),
                   .flags = NGHTTP2_NV_FLAG_NONE});
  return out;
}

void remember(std::vector<StreamId>& ring, std::size_t& at, StreamId stream) {
  if (ring.size() < kRemembered) return ring.push_back(stream);
  ring[at] = stream;
  at = (at + 1) % kRemembered;
}

bool knows(const std::vector<StreamId>& ring, StreamId stream) {
  return std::ranges::find(ring, stream) != ring.end();
}

}  // namespace

void GlitchMeter::forgive(Mono now) {
  if (since_ == Mono{}) since_ = now;
  const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - since_);
  if (elapsed < 10ms) return;
  credit(elapsed.count() * kForgivenPerSecond / 1000);
  since_ = now;
}

// What nghttp2 calls; `self` is the Connection.
struct Connection::Callbacks {
  static Connection& of(void* self) { return *static_cast<Connection*>(self); }

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self) {
    Connection& connection = of(self);
    connection.text_.clear();
    connection.places_.clear();
    connection.head_bytes_ = 0;
    connection.too_large_ = false;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      ++connection.streams_total_;
      connection.streams_.try_emplace(frame->hd.stream_id);
      remember(connection.opened_, connection.opened_at_, frame->hd.stream_id);
    }
    return 0;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* self) {
    const bool fine = of(self).add_field(view(name, name_size), view(value, value_size));
    return fine ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  static int on_frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int on_data(nghttp2_session*, std::uint8_t, StreamId stream, const std::uint8_t* bytes,
                     std::size_t size, void* self) {
    Connection& connection = of(self);
    const auto found = connection.streams_.find(stream);
    if (found == connection.streams_.end()) return 0;
    connection.note_data(stream, found->second, size);
    connection.handler_.on_data(stream, view(bytes, size));
    return 0;
  }
  static int on_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int on_close(nghttp2_session*, StreamId stream, std::uint32_t error, void* self) {
    of(self).note_closed(stream, error);
    return 0;
  }
  static ssize_t on_read(nghttp2_session*, StreamId stream, std::uint8_t* into, std::size_t size,
                         std::uint32_t* flags, nghttp2_data_source*, void* self) {
    return static_cast<ssize_t>(of(self).fill(stream, {into, size}, *flags));
  }
};

int Connection::Callbacks::on_frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  Connection& connection = of(self);
  const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (frame->hd.type == NGHTTP2_HEADERS) {
    connection.finish_head(frame->hd.stream_id, ends ? Ends::kYes : Ends::kNo);
  } else if (frame->hd.type == NGHTTP2_DATA) {
    if (ends) connection.handler_.on_end(frame->hd.stream_id);
    if (!ends && frame->hd.length == frame->data.padlen) connection.glitches_.add(kCostly);
  } else if (frame->hd.type == NGHTTP2_SETTINGS) {
    connection.has_peer_settings_ = true;
  } else if (frame->hd.type == NGHTTP2_PING) {
    if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) connection.finish_measurement();
  } else if (frame->hd.type == NGHTTP2_GOAWAY) {
    connection.handler_.on_goaway(frame->goaway.last_stream_id);
  } else if (frame->hd.type == NGHTTP2_RST_STREAM && connection.options_.role == Role::kServer) {
    connection.glitches_.add(kCostly);
  }
  return 0;
}

int Connection::Callbacks::on_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  Connection& connection = of(self);
  const StreamId stream = frame->hd.stream_id;
  const bool carries_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
  if (frame->hd.type == NGHTTP2_DATA) ++connection.data_frames_sent_;
  if (carries_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
    connection.note_local_end(stream);
  if (frame->hd.type == NGHTTP2_RST_STREAM && !knows(connection.reset_, stream)) {
    // The peer's fault: however cheap for it, the work was ours.
    remember(connection.reset_, connection.reset_at_, stream);
    connection.glitches_.add(kCostly);
  }
  return 0;
}

Connection::Connection(const Options& options, Handler& handler)
    : options_(options),
      handler_(handler),
      tuner_(options.windows, options.budget),
      preface_left_(options.role == Role::kServer ? kPreface : 0) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* settings = nullptr;
  CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&settings) == 0);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::on_frame_recv);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::on_data);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::on_frame_send);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::on_close);
  nghttp2_option_set_no_auto_window_update(settings, 1);
  nghttp2_option_set_no_closed_streams(settings, 1);
  const bool serves = options_.role == Role::kServer;
  const int made = serves ? nghttp2_session_server_new2(&session_, callbacks, this, settings)
                          : nghttp2_session_client_new2(&session_, callbacks, this, settings);
  nghttp2_option_del(settings);
  nghttp2_session_callbacks_del(callbacks);
  CHECK(made == 0);
  std::vector<nghttp2_settings_entry> entries = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(options_.windows.stream)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(options_.head_bytes_max)}};
  if (serves) {
    entries.push_back({NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1});
  } else {
    entries.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  }
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  if (serves) {
    const nghttp2_settings_entry bound = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                          options_.streams_max};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &bound, 1);
  }
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        options_.windows.connection);
}

Connection::~Connection() {
  nghttp2_session_del(session_);
}

// ---- receiving

bool Connection::fail(ErrorCode error, std::string_view complaint) {
  if (over_) return false;
  over_ = true;
  complaint_ = complaint;
  nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(error));
  return false;
}

bool Connection::feed(std::string_view bytes, Mono now) {
  if (over_) return false;
  now_ = now;
  glitches_.forgive(now);
  while (!bytes.empty() && !over_) {
    if (preface_left_ > 0 || payload_left_ > 0) {
      std::size_t& left = preface_left_ > 0 ? preface_left_ : payload_left_;
      const std::size_t size = std::min(left, bytes.size());
      left -= size;
      pass(bytes.substr(0, size));
      bytes.remove_prefix(size);
    } else {
      bytes.remove_prefix(take_frame_header(bytes));
    }
  }
  if (!over_ && nghttp2_session_want_read(session_) == 0) over_ = true;
  return !over_;
}

// nghttp2 hears of a frame only after it was judged: of some frames it tells nobody.
std::size_t Connection::take_frame_header(std::string_view bytes) {
  const std::size_t size = std::min(kFrameHeader - frame_header_.size(), bytes.size());
  frame_header_.append(bytes.substr(0, size));
  if (frame_header_.size() < kFrameHeader) return size;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(frame_header_[i]); };
  payload_left_ = std::size_t{byte(0)} << 16 | std::size_t{byte(1)} << 8 | byte(2);
  const auto stream = static_cast<StreamId>((byte(5) & 0x7fU) << 24 | std::uint32_t{byte(6)} << 16 |
                                            std::uint32_t{byte(7)} << 8 | byte(8));
  if (judge_frame(stream, byte(3), byte(4))) pass(frame_header_);
  frame_header_.clear();
  return size;
}

bool Connection::pass(std::string_view bytes) {
  const ssize_t used = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (over_) return false;
  if (used == NGHTTP2_ERR_FLOODED) return fail(ErrorCode::kEnhanceYourCalm, "flood");
  if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC) return fail(ErrorCode::kProtocol, "bad preface");
  if (used < 0) return fail(ErrorCode::kProtocol, "malformed");
  if (glitches_.is_too_much()) return fail(ErrorCode::kEnhanceYourCalm, "too many glitches");
  return true;
}

bool Connection::judge_frame(StreamId stream, std::uint8_t type, std::uint8_t flags) {
  switch (type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
      if (options_.role == Role::kServer && !judge_closed(stream, type)) return false;
      break;
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_GOAWAY:
      break;
    case NGHTTP2_WINDOW_UPDATE:
      if (++window_updates_ > 100 + 20 * data_frames_sent_ + 10 * streams_total_)
        glitches_.add(kCheap);
      break;
    case NGHTTP2_SETTINGS:
      if ((flags & NGHTTP2_FLAG_ACK) != 0) return passes_ack();
      glitches_.add(kCheap);
      break;
    default:  // ping, priority, what nobody knows
      if ((flags & NGHTTP2_FLAG_ACK) == 0) glitches_.add(kCheap);
  }
  if (!glitches_.is_too_much()) return true;
  return fail(ErrorCode::kEnhanceYourCalm, "too many glitches");
}

// nghttp2 refuses streams beyond the bound (RFC 9113 section 5.1.2) only until it hears that the
// peer knows the bound, which is in a server's second SETTINGS; then it would end the connection.
// So it never hears.
bool Connection::passes_ack() {
  return options_.role == Role::kClient || ++settings_acks_ != 2;
}

// Of streams that are not open, only a new one may be used, and only upwards.
bool Connection::judge_closed(StreamId stream, std::uint8_t type) {
  if (stream <= 0 || stream % 2 == 0 || streams_.contains(stream)) return true;  // nghttp2 judges
  if (stream > highest_) {
    if (type == NGHTTP2_HEADERS) highest_ = stream;
    return true;
  }
  if (knows(reset_, stream)) return true;  // it was on its way when this side gave up
  const bool was_open = knows(opened_, stream);
  return fail(was_open ? ErrorCode::kStreamClosed : ErrorCode::kProtocol,
              was_open ? "frame on a closed stream" : "smaller stream id");
}

bool Connection::add_field(std::string_view name, std::string_view value) {
  head_bytes_ += name.size() + value.size() + 32;
  too_large_ |= head_bytes_ > options_.head_bytes_max || places_.size() >= options_.fields_max;
  if (head_bytes_ > kTooLargeByFar * options_.head_bytes_max)
    return fail(ErrorCode::kEnhanceYourCalm, "head too large");
  if (too_large_) return true;
  places_.push_back({.name = text_.size(),
                     .name_size = name.size(),
                     .value = text_.size() + name.size(),
                     .value_size = value.size()});
  text_.append(name).append(value);
  return true;
}

void Connection::finish_head(StreamId stream, Ends ends) {
  if (!streams_.contains(stream)) return;
  const std::string_view text = text_;
  fields_.clear();
  for (const FieldPlace& place : places_)
    fields_.push_back({.name = text.substr(place.name, place.name_size),
                       .value = text.substr(place.value, place.value_size)});
  const bool is_head = !fields_.empty() && fields_.front().name.starts_with(':');
  if (is_head || too_large_) {
    handler_.on_head(stream, {.fields = fields_, .ends = ends, .too_large = too_large_});
  } else {
    handler_.on_trailers(stream, fields_);
  }
  if (ends == Ends::kYes) handler_.on_end(stream);
}

void Connection::note_closed(StreamId stream, std::uint32_t error) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  const std::size_t unconsumed = found->second.unconsumed;
  const bool whole = found->second.local_done && error == NGHTTP2_NO_ERROR;
  streams_.erase(found);
  unconsumed_ -= unconsumed;
  if (unconsumed > 0) nghttp2_session_consume_connection(session_, unconsumed);
  if (whole) glitches_.credit(kCostly);
  handler_.on_closed(stream, static_cast<ErrorCode>(error));
}

void Connection::consume(StreamId stream, std::size_t bytes) {
  const auto found = streams_.find(stream);
  if (found == streams_.end() || bytes == 0) return;
  const std::size_t taken = std::min(found->second.unconsumed, bytes);
  found->second.unconsumed -= taken;
  unconsumed_ -= taken;
  nghttp2_session_consume(session_, stream, bytes);
}

// ---- windows

void Connection::note_data(StreamId stream, Stream& to, std::size_t bytes) {
  to.unconsumed += bytes;
  to.received += bytes;
  unconsumed_ += bytes;
  widen(stream, to);
  if (tuner_.note_data(stream, bytes, now_))
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

// Only streams with a long body: a short one fits into the first window.
void Connection::widen(StreamId stream, Stream& to) {
  const std::int32_t window = tuner_.windows().stream;
  const bool is_long = to.received * 4 >= static_cast<std::size_t>(options_.windows.stream);
  if (!is_long || std::max(to.window, options_.windows.stream) >= window) return;
  to.window = window;
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, stream, window);
}

void Connection::finish_measurement() {
  if (!tuner_.is_measuring()) return;
  const auto found = streams_.find(tuner_.measured_stream());
  const std::size_t of_stream = found == streams_.end() ? 0 : found->second.unconsumed;
  if (!tuner_.finish({.stream = of_stream, .connection = unconsumed_}, now_)) return;
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        tuner_.windows().connection);
  if (found != streams_.end()) widen(found->first, found->second);
}

// ---- sending

void Connection::output(std::string& out, std::size_t most) {
  const std::size_t begin = out.size();
  while (out.size() - begin < most) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size < 0) over_ = true;
    if (size <= 0) return;
    out.append(view(bytes, static_cast<std::size_t>(size)));
  }
}

bool Connection::wants_output() const {
  return nghttp2_session_want_write(session_) != 0;
}

bool Connection::is_finished() const {
  return over_ ||
         (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0);
}

StreamId Connection::request(std::span<const Field> fields, Ends ends) {
  const std::vector<nghttp2_nv> list = to_nv(fields);
  const nghttp2_data_provider provider{.source = {.ptr = nullptr},
                                       .read_callback = Callbacks::on_read};
  const StreamId stream = nghttp2_submit_request(session_, nullptr, list.data(), list.size(),
                                                 ends == Ends::kYes ? nullptr : &provider, nullptr);
  if (stream > 0) streams_.try_emplace(stream);
  return stream;
}

void Connection::interim(StreamId stream, std::span<const Field> fields) {
  if (!is_open(stream)) return;
  const std::vector<nghttp2_nv> list = to_nv(fields);
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream, nullptr, list.data(), list.size(),
                         nullptr);
}

void Connection::respond(StreamId stream, std::span<const Field> fields, Ends ends) {
  if (!is_open(stream)) return;
  const std::vector<nghttp2_nv> list = to_nv(fields);
  const nghttp2_data_provider provider{.source = {.ptr = nullptr},
                                       .read_callback = Callbacks::on_read};
  nghttp2_submit_response(session_, stream, list.data(), list.size(),
                          ends == Ends::kYes ? nullptr : &provider);
}

void Connection::send(StreamId stream, std::string_view bytes, Ends ends) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  Stream& to = found->second;
  to.out.append(bytes);
  to.ends |= ends == Ends::kYes;
  to.was_full |= to.out.size() - to.out_at >= kWaitingHigh;
  if (std::exchange(to.deferred, false)) nghttp2_session_resume_data(session_, stream);
}

void Connection::send_trailers(StreamId stream, std::span<const Field> fields) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  for (const Field& field : fields) found->second.trailers.emplace_back(field.name, field.value);
  send(stream, {}, Ends::kYes);
}

std::size_t Connection::waiting(StreamId stream) const {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? 0 : found->second.out.size() - found->second.out_at;
}

std::int64_t Connection::fill(StreamId stream, std::span<std::uint8_t> into, std::uint32_t& flags) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  Stream& from = found->second;
  const std::size_t size = std::min(into.size(), from.out.size() - from.out_at);
  std::memcpy(into.data(), from.out.data() + from.out_at, size);
  from.out_at += size;
  const std::size_t left = from.out.size() - from.out_at;
  if (left == 0) {
    from.out.clear();
    from.out_at = 0;
  }
  if (left == 0 && from.ends) {
    flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!from.trailers.empty()) {
      flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      std::vector<Field> fields;
      for (const auto& [name, value] : from.trailers) fields.push_back({name, value});
      const std::vector<nghttp2_nv> list = to_nv(fields);
      nghttp2_submit_trailer(session_, stream, list.data(), list.size());
    }
  } else if (size == 0) {
    from.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  if (left < kWaitingHigh / 2 && std::exchange(from.was_full, false)) handler_.on_writable(stream);
  return static_cast<std::int64_t>(size);
}

// A server that has said all does not wait for the rest of the request.
void Connection::note_local_end(StreamId stream) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  found->second.local_done = true;
  if (options_.role != Role::kServer) return;
  if (nghttp2_session_get_stream_remote_close(session_, stream) == 0)
    reset(stream, ErrorCode::kNone);
}

void Connection::reset(StreamId stream, ErrorCode error) {
  remember(reset_, reset_at_, stream);
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, static_cast<std::uint32_t>(error));
}

// ---- the end

void Connection::announce_end() {
  nghttp2_submit_shutdown_notice(session_);
}

void Connection::end() {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
}

std::uint32_t Connection::peer_streams_max() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

std::optional<bool> Connection::peer_takes_websockets() const {
  if (!has_peer_settings_) return std::nullopt;
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) ==
         1;
}

}  // namespace banyan::h2
