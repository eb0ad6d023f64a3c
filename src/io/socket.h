#pragma once
// Socket: a non-blocking stream whose operations are awaited, each with a deadline.
//   const IoResult got = co_await socket.recv(loop.scratch(), deadline);
//
// An operation tries the system call first and suspends only when it would block. At most one
// receiver and one sender at a time. `cancel` ends both, now and later; `cancel_recv` ends only the
// receiver that waits. The peer's end of stream is kEnd, which is no failure: it may still read.
// While nobody receives, an IdleObserver hears of data or of the end.
//
// After `start_tls` the same operations speak TLS; what arrives without the peer's notice of the
// end is kFailed, not kEnd, for it may be cut off.

#include <coroutine>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/pipe.h"
#include "io/task.h"
#include "io/tls.h"
#include "io/tls_link.h"

namespace banyan::io {

enum class IoStatus : std::uint8_t { kOk, kEnd, kTimeout, kCancelled, kFailed };

struct IoResult {
  IoStatus status = IoStatus::kOk;
  std::size_t bytes = 0;
  bool ok() const { return status == IoStatus::kOk; }
};

class Socket;

class IdleObserver {
 public:
  // May close or destroy the socket.
  virtual void on_idle_activity(Socket& socket) = 0;

 protected:
  ~IdleObserver() = default;
};

class Socket final : private Pollable {
 public:
  explicit Socket(Loop& loop) : loop_(loop), recv_timer_(*this), send_timer_(*this) {}
  ~Socket() { close(); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Takes over an open, non-blocking descriptor.
  Result<void> adopt(int fd);
  Task<Result<void>> connect(Address to, Mono deadline);
  // The handshake on an open connection, as server or as client, and from now on TLS.
  Task<Result<void>> start_tls(const TlsServer& server, Mono deadline);
  Task<Result<void>> start_tls(const TlsClient& client, Mono deadline);
  // Null without TLS.
  const SSL* tls() const { return tls_ ? tls_->ssl() : nullptr; }

  class Recv;
  class Send;
  class Connected;
  class Handshake;
  class Activity;
  // What has arrived, at least one byte: never waits to fill `into`.
  Recv recv(std::span<char> into, Mono deadline);
  // Everything, `first` then `second` in one system call; what cannot go out at once is copied.
  Send send(std::string_view first, std::string_view second, Mono deadline);
  Send send(std::string_view bytes, Mono deadline);
  // At most `most` bytes of what has arrived go into an empty pipe, at least one; all that a pipe
  // holds goes out. Who has to wait is woken by `worth_waking` bytes, or by the end.
  struct Amount {
    std::size_t most = 0;
    std::size_t worth_waking = 1;
  };
  class MoveIn;
  class MoveOut;
  MoveIn move_in(Pipe& pipe, Amount amount, Mono deadline);
  MoveOut move_out(Pipe& pipe, Mono deadline);
  // kOk when there is something to receive, kEnd when the peer ended or broke the connection.
  Activity activity(Mono deadline);

  // Receivers wait for one byte again.
  void reset_receive_low_water() { set_receive_low_water(1); }
  void shutdown_send();
  void cancel();
  void cancel_recv();
  // No operation may be waiting.
  void close();

  bool is_open() const { return fd_ >= 0; }
  // The peer sends no more; it may still read.
  bool peer_ended() const { return peer_ended_; }
  // The connection is gone in both directions.
  bool is_broken() const { return broken_ || fd_ < 0; }
  // Asks the kernel now: the peer has neither ended nor sent anything.
  bool is_quiet();
  void set_idle_observer(IdleObserver* observer) { idle_observer_ = observer; }
  Loop& loop() { return loop_; }
  int fd() const { return fd_; }

 private:
  // An operation that waits. `attempt` is true when it is over, with `result` set.
  class Waiter {
   public:
    virtual bool attempt() = 0;

    Waiter(Socket& owner, Mono until) : socket(owner), deadline(until) {}
    Socket& socket;
    Mono deadline;
    IoResult result;
    std::coroutine_handle<> handle;

   protected:
    ~Waiter() = default;
  };
  template <void (Socket::*kExpired)()>
  class Deadline final : public Timer {
   public:
    explicit Deadline(Socket& socket) : Timer(socket.loop_), socket_(socket) {}

   private:
    void on_expired() override { (socket_.*kExpired)(); }
    Socket& socket_;
  };

  Task<Result<void>> shake_hands(TlsPeer peer, Mono deadline);
  bool recv_tls(std::span<char> into, IoResult& result);
  bool open_records(std::span<char> into, IoResult& result);
  TlsLink::Flushed flush_tls();
  void note_tls_end(int error);
  void end_tls();
  void set_receive_low_water(std::size_t bytes);
  bool has_tls_data();  // also notices the peer's end
  void on_ready(std::uint32_t events) override;
  void receive_later(Waiter& waiter, std::coroutine_handle<> handle);
  void send_later(Waiter& waiter, std::coroutine_handle<> handle);
  void expire_recv();
  void expire_send();
  void end_waiting(Waiter*& waiter, IoStatus status);
  static std::coroutine_handle<> take(Waiter*& waiter);

  Loop& loop_;
  int fd_ = -1;
  bool readable_ = false;
  bool writable_seen_ = false;
  bool peer_ended_ = false;
  bool broken_ = false;
  bool cancelled_ = false;
  int low_water_ = 1;
  Waiter* receiver_ = nullptr;
  Waiter* sender_ = nullptr;
  IdleObserver* idle_observer_ = nullptr;
  std::unique_ptr<TlsLink> tls_;
  Deadline<&Socket::expire_recv> recv_timer_;
  Deadline<&Socket::expire_send> send_timer_;
};

class Socket::Recv final : private Waiter {
 public:
  Recv(Socket& socket, std::span<char> into, Mono until) : Waiter(socket, until), into_(into) {}
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting);
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
  std::span<char> into_;
};

class Socket::Activity final : private Waiter {
 public:
  using Waiter::Waiter;
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting);
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
};

class Socket::Send final : private Waiter {
 public:
  Send(Socket& socket, std::string_view first, std::string_view second, Mono until)
      : Waiter(socket, until), first_(first), second_(second) {}
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting);
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
  bool attempt_tls();
  void consume(std::size_t bytes);
  std::string_view first_;
  std::string_view second_;
  std::string unsent_;
};

class Socket::MoveIn final : private Waiter {
 public:
  MoveIn(Socket& socket, Pipe& pipe, Amount amount, Mono until)
      : Waiter(socket, until), pipe_(pipe), amount_(amount) {}
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting);
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
  Pipe& pipe_;
  Amount amount_;
};

class Socket::MoveOut final : private Waiter {
 public:
  MoveOut(Socket& socket, Pipe& pipe, Mono until) : Waiter(socket, until), pipe_(pipe) {}
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting) { socket.send_later(*this, waiting); }
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
  Pipe& pipe_;
};

class Socket::Connected final : private Waiter {
 public:
  using Waiter::Waiter;
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting);
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
};

class Socket::Handshake final : private Waiter {
 public:
  using Waiter::Waiter;
  bool await_ready() { return attempt(); }
  void await_suspend(std::coroutine_handle<> waiting);
  IoResult await_resume() const { return result; }

 private:
  bool attempt() override;
};

inline Socket::Recv Socket::recv(std::span<char> into, Mono deadline) {
  return {*this, into, deadline};
}
inline Socket::Send Socket::send(std::string_view first, std::string_view second, Mono deadline) {
  return {*this, first, second, deadline};
}
inline Socket::Send Socket::send(std::string_view bytes, Mono deadline) {
  return {*this, bytes, {}, deadline};
}
inline Socket::MoveIn Socket::move_in(Pipe& pipe, Amount amount, Mono deadline) {
  return {*this, pipe, amount, deadline};
}
inline Socket::MoveOut Socket::move_out(Pipe& pipe, Mono deadline) {
  return {*this, pipe, deadline};
}
inline Socket::Activity Socket::activity(Mono deadline) {
  return {*this, deadline};
}

}  // namespace banyan::io
