#pragma once
// GrpcCall: one attempt at a gRPC call whose messages may stream for hours, both ways.
//
//            its route is held              the door opens, its route leads here
//   flowing ──────────────────► kept silent ─────────────────────────────────► flowing
//      │                             │ the route leads elsewhere
//      └──────────── leave ──────────┴────► quiet ──► grpc-status 14 (UNAVAILABLE)
//
// Kept silent: the message under way still goes up, the client's next ones wait with the client
// (HTTP/2's flow control) and here (one piece of it); answers go on. Quiet: no message is under way
// and the last one went up `settle` ago, so what it caused has been answered or is not waited for.
// A call ends between two messages, and every message that came from the backend reaches the
// client first. A unary call is never touched: its request is whole, and it has no answer, or one
// message on its way down. Without an answer for `unanswered` it must be waiting for news.

#include <string_view>

#include "io/event.h"
#include "io/task.h"
#include "planes/gateway/client.h"
#include "planes/gateway/grpc.h"
#include "planes/gateway/long_stream.h"
#include "planes/gateway/upstream.h"

namespace banyan::gateway {

class GrpcCallOwner {
 public:
  // A message waits because the call is kept silent.
  virtual void on_waiting_message() = 0;

 protected:
  ~GrpcCallOwner() = default;
};

class GrpcCall final : public LongStream {
 public:
  struct Times {
    Duration idle{};        // of both directions
    Duration send{};        // for the client to take a piece
    Duration settle{};      // spec::Rehome
    Duration unanswered{};  // likewise
  };
  GrpcCall(io::Loop& loop, Client& client, Upstream& upstream, GrpcCallOwner& owner, Times times);

  // The request's body. `note_sent`: what went up with its head.
  void note_sent(std::string_view bytes);
  io::Task<io::IoResult> send_up(std::string_view bytes);
  bool is_between_messages() const { return up_.at_boundary(); }
  bool was_active_within(Duration time) const;
  // Nothing more goes up: ends the `send_up` that waits.
  void stop_sending();

  // The answer began, with `first` of its body.
  void note_answered(std::string_view first);
  // The rest of its body. False: cut off.
  io::Task<bool> relay();
  std::uint64_t bytes_down() const { return bytes_down_; }

  // May last for hours, as far as can be told by now.
  bool is_stream() const;
  bool is_quiet() const;
  void keep_silent() { silent_ = true; }
  bool is_kept_silent() const { return silent_; }
  bool has_waiting_message() const { return waiting_; }
  void carry_on();
  // Keeps it silent; true when it may be left: it is quiet, or does not become so in time.
  bool may_leave();
  void leave(int close_code) override;
  // It was left; what its client is told unless an answer has begun.
  bool is_left() const { return leaving_; }

 private:
  io::Task<io::IoResult> pass_up(std::string_view bytes);
  io::Task<bool> pass_down(std::string_view bytes);
  io::Task<bool> end();
  bool ends_soon() const;
  Mono now() const { return loop_.now(); }

  io::Loop& loop_;
  Client& client_;
  Upstream& upstream_;
  GrpcCallOwner& owner_;
  Times times_;
  GrpcMessages up_;
  GrpcMessages down_;
  Mono last_up_;
  Mono last_down_;
  std::uint64_t bytes_down_ = 0;
  bool request_open_ = true;
  bool answered_ = false;
  bool silent_ = false;
  bool waiting_ = false;  // a message, for the end of the silence
  bool stopped_ = false;  // nothing more goes up
  bool leaving_ = false;
  bool woken_ = false;
  Mono leave_until_ = io::kNever;
  io::Event may_send_;
};

}  // namespace banyan::gateway
