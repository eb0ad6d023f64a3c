#pragma once
// Ejection: whether an endpoint is passed over because of how it answered. Pure.
//
//   in ──failures or 5xx in a row──► out ──time over──► probation: one request at a time
//    ▲                                ▲                      │ answered well      │ failed
//    └────────────────────────────────┼──────────────────────┘                    │
//                                     └────────── for twice as long ◄─────────────┘
// All states live in memory of one worker and are forgotten with it.

#include <cstdint>

#include "base/clock.h"
#include "spec/traffic.h"

namespace banyan::gateway {

class Ejection {
 public:
  explicit Ejection(const spec::Eject& rules) : rules_(rules) {}
  void adopt(const spec::Eject& rules) { rules_ = rules; }

  // May it get another request? In probation only while it has none.
  bool may_take(Mono now, int active) const {
    return out_until_ == Mono{} || (now >= out_until_ && active == 0);
  }
  bool is_out(Mono now) const { return out_until_ != Mono{} && now < out_until_; }

  // No connection, or one that died before it answered. `may_eject`: enough others are in.
  void note_failure(Mono now, bool may_eject);
  // It answered.
  void note_answer(int status, Mono now, bool may_eject);
  std::uint64_t ejections() const { return ejections_; }

 private:
  void eject(Mono now);

  spec::Eject rules_;
  int failures_ = 0;  // in a row
  int errors_ = 0;    // in a row
  int doublings_ = 0;
  Mono out_until_{};  // zero: in
  std::uint64_t ejections_ = 0;
};

// How many of `endpoints` may be out at once: the share, but at least one of two.
int ejections_max(const spec::Eject& rules, int endpoints);

}  // namespace banyan::gateway
