#include "planes/gateway/http2_session.h"

#include "planes/gateway/http2_stream.h"
#include "planes/gateway/worker.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kRead = 64 * 1024;
constexpr Duration kLingerTime = 2s;  // for the client to read the last frames while it sends
constexpr std::size_t kLingerBytes = 1 << 20;

h2::Options options_of(const LimitsSpec& limits, h2::WindowBudget& budget) {
  h2::Options options{.budget = &budget};
  options.head_bytes_max = static_cast<std::size_t>(limits.head_bytes);
  return options;
}

}  // namespace

Http2Session::Http2Session(Worker& worker, Session& session)
    : worker_(worker),
      session_(session),
      connection_(options_of(worker.routing()->snapshot.limits, worker.window_budget()), *this),
      writer_(session.socket(), connection_, worker.routing()->snapshot.limits.body_idle_ms),
      all_served_(worker.loop()) {}

Http2Session::~Http2Session() = default;

void Http2Session::begin_drain() {
  connection_.announce_end();
  wake_writer();
}

void Http2Session::close_if_idle() {
  if (!std::exchange(leaving_, true)) connection_.end();
  wake_writer();
  if (streams_.empty()) session_.socket().cancel_recv();
}

void Http2Session::cancel() {
  leaving_ = true;
  lose_streams();
}

void Http2Session::lose_streams() {
  for (auto& [id, stream] : streams_) stream->lose();
}

io::Task<void> Http2Session::run(std::string received) {
  writer_.run();
  if (received.empty() || take(received)) co_await read();
  lose_streams();
  if (!streams_.empty()) (void)co_await all_served_.wait();
  co_await writer_.finish();
  co_await linger();
}

// A connection that is closed while bytes arrive is reset, and its last frames are lost.
io::Task<void> Http2Session::linger() {
  session_.socket().shutdown_send();
  const Mono deadline = worker_.loop().now() + kLingerTime;
  for (std::size_t read = 0; read < kLingerBytes;) {
    const io::IoResult got = co_await session_.socket().recv(worker_.loop().scratch(), deadline);
    if (!got.ok()) co_return;
    read += got.bytes;
  }
}

// False when the connection is over.
bool Http2Session::take(std::string_view bytes) {
  const bool goes_on = connection_.feed(bytes, worker_.loop().now());
  if (!connection_.complaint().empty())
    worker_.metrics().count_refused(connection_.complaint().data());
  for (auto& stream : std::exchange(arrived_, {})) serve(std::move(stream));
  wake_writer();
  return goes_on;
}

io::Task<void> Http2Session::read() {
  while (!leaving_ || !streams_.empty()) {
    const Duration idle = worker_.routing()->snapshot.limits.idle_ms;
    const std::span<char> scratch = worker_.loop().scratch().first(kRead);
    const io::IoResult got = co_await session_.socket().recv(scratch, worker_.loop().now() + idle);
    const bool waits = got.status == io::IoStatus::kTimeout && !streams_.empty();
    if (waits) continue;
    if (got.status == io::IoStatus::kTimeout) connection_.end();
    if (!got.ok() || !take({scratch.data(), got.bytes})) co_return;
  }
}

io::Detached Http2Session::serve(std::unique_ptr<Http2Stream> stream) {
  co_await stream->serve();
  streams_.erase(stream->id());
  wake_writer();
  if (!streams_.empty()) co_return;
  all_served_.set();
  if (leaving_) session_.socket().cancel_recv();
}

// ---- what the connection says

Http2Stream* Http2Session::find(h2::StreamId stream) {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second;
}

void Http2Session::on_head(h2::StreamId stream, const h2::Head& head) {
  if (streams_.contains(stream)) return;  // a server hears one head of a stream
  all_served_.reset();
  auto made = std::make_unique<Http2Stream>(*this, stream, head);
  streams_.emplace(stream, made.get());
  arrived_.push_back(std::move(made));
}

void Http2Session::on_trailers(h2::StreamId stream, std::span<const h2::Field> fields) {
  if (Http2Stream* const to = find(stream)) to->add_trailers(fields);
}

void Http2Session::on_data(h2::StreamId stream, std::string_view bytes) {
  if (Http2Stream* const to = find(stream)) to->add_data(bytes);
}

void Http2Session::on_end(h2::StreamId stream) {
  if (Http2Stream* const to = find(stream)) to->end_data();
}

void Http2Session::on_writable(h2::StreamId stream) {
  if (Http2Stream* const to = find(stream)) to->note_writable();
}

void Http2Session::on_closed(h2::StreamId stream, h2::ErrorCode) {
  if (Http2Stream* const to = find(stream)) to->lose();
}

}  // namespace banyan::gateway
