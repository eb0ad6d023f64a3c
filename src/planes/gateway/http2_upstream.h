#pragma once
// HTTP/2 towards the application: one connection shared by many requests.
//
// Http2Link: the connection. Belongs to its endpoint, its streams and the coroutine that reads it.
// Http2Upstream: one stream, an Upstream as any other; a WebSocket is an extended CONNECT on it
// (RFC 8441), which the exchange sees as the upgrade it asked for. What the other side says it has
// not looked at (REFUSED_STREAM, or beyond the last stream of its GOAWAY) may be sent again
// elsewhere.

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "io/event.h"
#include "io/socket.h"
#include "planes/gateway/body.h"
#include "planes/gateway/http2_writer.h"
#include "planes/gateway/routing.h"
#include "planes/gateway/upstream.h"
#include "wire/h2/connection.h"

namespace banyan::gateway {

class Http2Upstream;

class Http2Link final : public std::enable_shared_from_this<Http2Link>, private h2::Handler {
 public:
  // The budget outlives it.
  Http2Link(io::Loop& loop, const EndpointPlan& plan, h2::WindowBudget& budget);

  io::Task<Result<void>> connect(Mono deadline);
  // Waits for the settings of the other side.
  io::Task<bool> takes_websockets(Mono deadline);
  // Another stream may be opened.
  bool has_room() const;
  bool is_idle() const { return streams_.empty(); }
  bool is_over() const { return over_; }
  bool has_served() const { return has_served_; }
  Mono idle_since() const { return idle_since_; }
  // No more streams; ends when the last one does.
  void leave();
  // Ends now.
  void cancel();

 private:
  friend class Http2Upstream;

  io::Detached read(std::shared_ptr<Http2Link> self);
  void forget(h2::StreamId stream);
  Http2Upstream* find(h2::StreamId stream);

  void on_head(h2::StreamId stream, const h2::Head& head) override;
  void on_trailers(h2::StreamId stream, std::span<const h2::Field> fields) override;
  void on_data(h2::StreamId stream, std::string_view bytes) override;
  void on_end(h2::StreamId stream) override;
  void on_writable(h2::StreamId stream) override;
  void on_closed(h2::StreamId stream, h2::ErrorCode error) override;
  void on_goaway(h2::StreamId last) override;

  io::Loop& loop_;
  EndpointPlan plan_;
  io::Socket socket_;
  h2::Connection connection_;
  Http2Writer writer_;
  std::unordered_map<h2::StreamId, Http2Upstream*> streams_;
  std::unique_ptr<http::Head> scratch_;
  io::Event settled_;     // the other side's settings have come
  bool leaving_ = false;  // by either side's wish
  bool over_ = false;
  bool has_served_ = false;
  Mono idle_since_{};
};

class Http2Upstream final : public Upstream {
 public:
  Http2Upstream(Endpoint& endpoint, std::shared_ptr<Http2Link> link);
  ~Http2Upstream() override;

  io::Task<io::IoResult> send_request(const OutgoingRequest& request, BodyPart first,
                                      Mono deadline) override;
  io::Task<io::IoResult> send_body(BodyPart part, Mono deadline) override;
  io::Task<HeadEnd> receive_head(http::Head& head, Mono deadline) override;
  std::string_view take_received() override;
  io::Task<BodyPiece> read_body(std::size_t most, Mono deadline) override;
  std::string_view trailers() const override { return trailers_; }
  bool has_partial_head() const override { return false; }
  bool is_unprocessed() const override { return refused_; }
  bool is_quiet() override { return link_->has_room(); }
  bool is_reusable() const override { return false; }  // the link is, not the stream
  void set_idle(bool) override {}
  void begin_tunnel() override { is_tunnel_ = true; }
  void end_sending() override;
  void stop_reading() override;
  void cancel() override;

 private:
  friend class Http2Link;
  bool is_lost() const { return lost_ || cancelled_; }
  bool asks_for_tunnel() const { return !accept_.empty(); }
  bool parse(const OutgoingRequest& request) const;
  io::Task<bool> ask_for_tunnel(Mono deadline);
  void pass_on();
  void put(const BodyPart& part);
  io::Task<io::IoResult> drained(Mono deadline);
  void note_closed(h2::ErrorCode error);

  std::shared_ptr<Http2Link> link_;
  h2::StreamId id_ = 0;
  http::Answers answers_ = http::Answers::kOther;
  std::string accept_;  // what the client's key of a WebSocket is answered with
  BodyWriter request_;
  std::deque<std::string> heads_;  // as HTTP/1 text, not yet asked for
  std::string head_;               // the one asked for last
  std::string pending_;
  std::string taken_;
  std::string trailers_;
  bool is_tunnel_ = false;
  bool ended_ = false;
  bool lost_ = false;
  bool cancelled_ = false;
  bool refused_ = false;
  bool stop_reading_ = false;
  io::Event readable_;
  io::Event writable_;
};

}  // namespace banyan::gateway
