#pragma once
// EventRelay: the body of an event stream on its way to the client, until it ends or is left.
// It is left between two events: the client sees a whole answer, and connects again by itself.

#include <cstdint>

#include "io/loop.h"
#include "io/task.h"
#include "planes/gateway/client.h"
#include "planes/gateway/long_stream.h"
#include "planes/gateway/upstream.h"
#include "wire/http/event_stream.h"

namespace banyan::gateway {

class EventRelay final : public LongStream {
 public:
  struct Times {
    Duration idle{};  // of the upstream
    Duration send{};  // for the client to take a piece
  };
  // The answer's head, and what of its body goes with it. Used by the constructor only.
  struct Begin {
    const http::Head& head;
    std::string_view body;
  };
  EventRelay(io::Loop& loop, Client& client, Upstream& upstream, const Begin& begin, Times times);

  // False: cut off.
  io::Task<bool> run();
  void leave(int close_code) override;
  std::uint64_t bytes() const { return bytes_; }

 private:
  io::Task<bool> pass_on(std::string_view bytes);
  io::Task<bool> end();
  bool may_end() const { return leaving_ && events_.at_boundary(); }
  Mono after(Duration duration) const { return loop_.now() + duration; }

  io::Loop& loop_;
  Client& client_;
  Upstream& upstream_;
  bool has_length_;  // announced: it cannot end earlier
  Times times_;
  http::EventStreamFollower events_;
  std::uint64_t bytes_ = 0;
  bool leaving_ = false;
  bool woken_ = false;
  Mono leave_until_{};
};

}  // namespace banyan::gateway
