#pragma once
// Listener: a listening socket on one loop. Every worker opens its own on the same address
// (SO_REUSEPORT), and the kernel spreads connections over them.

#include <coroutine>
#include <memory>

#include "base/error.h"
#include "io/address.h"
#include "io/descriptor.h"
#include "io/loop.h"

namespace banyan::io {

class Listener final : private Pollable {
  struct Passkey {};

 public:
  static Result<std::unique_ptr<Listener>> open(Loop& loop, const Address& at);
  // A listening, non-blocking socket that another process opened.
  static Result<std::unique_ptr<Listener>> adopt(Loop& loop, Descriptor socket);
  Listener(Passkey, Loop& loop, Descriptor socket) : loop_(loop), fd_(socket.release()) {}
  ~Listener() { close(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The bound address, with the port the kernel chose for port 0.
  Address address() const { return Address::of_local(fd_); }
  // A non-blocking descriptor; -1 when the process has no descriptor left (wait and try again), and
  // -2 once the listener is closed.
  static constexpr int kExhausted = -1;
  static constexpr int kClosed = -2;
  struct Accept {
    Listener& listener;
    int fd = kClosed;
    std::coroutine_handle<> handle;

    bool await_ready() { return attempt(); }
    void await_suspend(std::coroutine_handle<> waiting) {
      handle = waiting;
      listener.waiter_ = this;
    }
    int await_resume() const { return fd; }
    bool attempt();
  };
  Accept accept() { return {.listener = *this, .fd = kClosed, .handle = {}}; }
  // Without waiting: a descriptor, or a negative number when nobody waits to be accepted.
  int accept_now();
  // The descriptor, still owned by the listener.
  int fd() const { return fd_; }
  // Ends a waiting accept with kClosed. Connections already accepted are not touched; those that
  // wait to be accepted are reset, unless another process has the socket too.
  void close();

 private:
  void on_ready(std::uint32_t events) override;

  Loop& loop_;
  int fd_;
  Accept* waiter_ = nullptr;
};

}  // namespace banyan::io
