#pragma once
// Session: one client connection: its socket, perhaps TLS, and the protocol spoken on it.
// Owns itself until the connection ends; its worker keeps a list of those that live.
//
//   accepted ─► TLS handshake ─► HTTP/1 ◄─► requests
//                    │ ALPN h2     │ preface of HTTP/2
//                    └────────────►└─► HTTP/2

#include <memory>
#include <string>

#include "io/socket.h"
#include "io/task.h"
#include "planes/gateway/routing.h"

namespace banyan::gateway {

class Worker;

// What a session speaks.
class Protocol {
 public:
  // The worker drains: asks the client to send no more requests.
  virtual void begin_drain() {}
  // Leaves when nothing is being answered.
  virtual void close_if_idle() = 0;
  // Ends now.
  virtual void cancel() = 0;

 protected:
  ~Protocol() = default;
};

class Session {
 public:
  using Listened = std::shared_ptr<const ListenerPlan>;

  static io::Detached serve(Worker& worker, int fd, Listened listener);

  Session(Worker& worker, int fd, Listened listener);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void begin_drain();
  void close_if_idle();
  void cancel();

  io::Socket& socket() { return socket_; }
  const std::string& ip() const { return ip_; }
  std::string_view scheme() const { return listener_->tls ? "https" : "http"; }
  const ListenerPlan& listener() const { return *listener_; }
  // Lines about the client's certificate for the upstream; empty without one.
  const std::string& certificate_lines() const { return certificate_lines_; }

 private:
  io::Task<bool> start_tls();
  // `received`: what has been received of it already.
  io::Task<void> speak_http2(std::string received);

  Worker& worker_;
  Listened listener_;
  io::Socket socket_;
  std::string ip_;
  std::string certificate_lines_;
  Protocol* protocol_ = nullptr;
};

}  // namespace banyan::gateway
