#pragma once
// Http2Session: a client connection that speaks HTTP/2. One reader feeds the protocol, one writer
// sends what it says, and every stream is a Client with an Exchange of its own.
//
// Backpressure: what a stream received counts against its window until it went upstream; what it
// sends waits until the client's window and socket take it. A client that ends the connection, or
// a stream, is gone: the exchange is told, and a request that is held leaves the queue.

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/event.h"
#include "io/task.h"
#include "planes/gateway/http2_writer.h"
#include "planes/gateway/session.h"
#include "wire/h2/connection.h"

namespace banyan::gateway {

class Http2Stream;

class Http2Session final : public Protocol, private h2::Handler {
 public:
  Http2Session(Worker& worker, Session& session);
  ~Http2Session();

  // `received`: what has been read of it already.
  io::Task<void> run(std::string received);
  void begin_drain() override;
  void close_if_idle() override;
  void cancel() override;

 private:
  friend class Http2Stream;

  bool take(std::string_view bytes);
  io::Task<void> read();
  io::Task<void> linger();
  io::Detached serve(std::unique_ptr<Http2Stream> stream);
  void wake_writer() { writer_.wake(); }
  void lose_streams();

  void on_head(h2::StreamId stream, const h2::Head& head) override;
  void on_trailers(h2::StreamId stream, std::span<const h2::Field> fields) override;
  void on_data(h2::StreamId stream, std::string_view bytes) override;
  void on_end(h2::StreamId stream) override;
  void on_writable(h2::StreamId stream) override;
  void on_closed(h2::StreamId stream, h2::ErrorCode error) override;
  void on_goaway(h2::StreamId) override {}
  Http2Stream* find(h2::StreamId stream);

  Worker& worker_;
  Session& session_;
  h2::Connection connection_;
  std::unordered_map<h2::StreamId, Http2Stream*> streams_;  // that are served, or about to be
  std::vector<std::unique_ptr<Http2Stream>> arrived_;
  Http2Writer writer_;
  io::Event all_served_;
  bool leaving_ = false;
};

}  // namespace banyan::gateway
