#pragma once
// Succession: how a gateway process takes over from another one of this machine without refusing or
// resetting a connection. The sockets that listen are passed on, worker by worker, with the
// connections that wait in their queues; both processes accept until the old one is told to retire.
//
//   successor                      predecessor (`Succession`, at its path)
//   "take"                 ──►     refuses orders from now on
//                          ◄──     one message per listening socket, per unhealthy endpoint and for
//                          the
//                                  ticket keys of each listener, then "end"
//   starts, accepts
//   "accepting"            ──►     retires
//                          ◄──     "retired"
// When the successor dies in between, the predecessor goes on as if nothing had happened.

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "io/channel.h"
#include "planes/gateway/gateway.h"

namespace banyan::gateway {

// Predecessor's side: answers on a thread of its own until destroyed.
class Succession {
  struct Passkey {};

 public:
  // `on_retire` is called once, on that thread, when the gateway has retired and before the
  // successor hears of it.
  static Result<std::unique_ptr<Succession>> open(const std::string& path, Gateway& gateway,
                                                  std::function<void()> on_retire);
  Succession(Passkey, std::unique_ptr<io::ChannelListener> listener, Gateway& gateway,
             std::function<void()> on_retire);
  ~Succession();
  Succession(const Succession&) = delete;
  Succession& operator=(const Succession&) = delete;

 private:
  void serve();
  // True when the gateway has retired.
  bool converse(io::Channel& successor);
  Result<void> bequeath(io::Channel& successor);

  Gateway& gateway_;
  std::function<void()> on_retire_;
  std::unique_ptr<io::ChannelListener> listener_;
  std::jthread thread_;
};

// Successor's side.
class Predecessor {
 public:
  // kUnavailable when no gateway answers at `path`.
  static Result<Predecessor> meet(const std::string& path);
  // What it gives; it refuses orders until `dismiss`, or until this object is gone.
  Result<Inheritance> take();
  // This process accepts now; returns when the predecessor has retired.
  Result<void> dismiss();

 private:
  explicit Predecessor(io::Channel channel) : channel_(std::move(channel)) {}
  io::Channel channel_;
};

}  // namespace banyan::gateway
