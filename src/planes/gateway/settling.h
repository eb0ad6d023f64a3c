#pragma once
// Settling: while a hold is closed, what becomes of one worker's gRPC calls that were let in
// before. A unary call is waited for as any request is. A stream might last for hours: for `settle`
// it may end by itself, then it is kept from sending, and once it is quiet the hold does not wait
// for it (grpc_call.h). When the hold is over, calls whose route still leads to their endpoint
// carry on as if nothing had been; the others are rehomed, at once when they have something to say.

#include "io/loop.h"
#include "planes/gateway/hold.h"
#include "planes/gateway/rehoming.h"
#include "spec/traffic.h"

namespace banyan::gateway {

class Settling final : private io::Timer {
 public:
  Settling(io::Loop& loop, Rehoming& calls) : Timer(loop), loop_(loop), calls_(calls) {}
  Settling(const Settling&) = delete;
  Settling& operator=(const Settling&) = delete;

  void adopt(const spec::Rehome& rules) { rules_ = rules; }
  // After everything that may have changed the hold's phase.
  void note(Phase phase);

 private:
  void on_expired() override;

  io::Loop& loop_;
  Rehoming& calls_;
  spec::Rehome rules_;
  bool holds_ = false;
};

}  // namespace banyan::gateway
