#pragma once
// Http2Writer: sends what an HTTP/2 connection has to say over its socket, as one coroutine.

#include "io/event.h"
#include "io/socket.h"
#include "io/task.h"
#include "wire/h2/connection.h"

namespace banyan::gateway {

class Http2Writer {
 public:
  // A piece that the peer does not take within `patience` ends the connection.
  Http2Writer(io::Socket& socket, h2::Connection& connection, Duration patience)
      : socket_(socket),
        connection_(connection),
        patience_(patience),
        output_(socket.loop()),
        done_(socket.loop()) {}
  Http2Writer(const Http2Writer&) = delete;
  Http2Writer& operator=(const Http2Writer&) = delete;

  // Until `finish`; call it once.
  io::Detached run();
  // There may be something to send.
  void wake() { output_.set(); }
  // Sends what is left and ends `run`.
  io::Task<void> finish();

 private:
  io::Socket& socket_;
  h2::Connection& connection_;
  Duration patience_;
  io::Event output_;
  io::Event done_;
  bool finishing_ = false;
};

}  // namespace banyan::gateway
