#pragma once
// LongStream: an answer without an end, which may have to be ended so that its client connects to
// where its route leads by now (rehoming.h). EventRelay: an event stream. Tunnel: what follows 101.
// GrpcCall: a call of gRPC.

#include "base/clock.h"

namespace banyan::gateway {

// When leaving the stream waits so long for a place where it may be ended; then it is cut.
inline constexpr Duration kLeaveTime = 5s;

class LongStream {
 public:
  // Ends soon, where that loses nothing. `close_code`: of a WebSocket's Close (RFC 6455 7.4).
  virtual void leave(int close_code) = 0;

 protected:
  ~LongStream() = default;
};

}  // namespace banyan::gateway
