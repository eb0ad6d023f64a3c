#pragma once
// Rehoming: one worker's endless exchanges (WebSockets, event streams) and gRPC calls, and which of
// them must end because the routing in force would lead them elsewhere.
//
//              the route leads elsewhere, or its endpoint drains
//   at home ──────────────────────────────────────────────────────► due at a time of its own
//      ▲                                                                │
//      └── the route leads back ────────────────────────────────────────┤ the time has come
//                                                                       ▼
//                                              told to leave: its client connects again
//
// The times are spread over a window by chance, so that the new side sees no rush. Streams whose
// route still leads to their endpoint never notice. A call that may still end by itself is asked
// again until it has, or has become a stream (grpc_call.h). Belongs to one worker.

#include <set>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "io/loop.h"
#include "spec/traffic.h"
#include "wire/http/head_writer.h"

namespace banyan::gateway {

class Exchange;

class Rehoming final : private io::Timer {
 public:
  Rehoming(io::Loop& loop, http::IdSource& ids) : Timer(loop), loop_(loop), ids_(ids) {}
  Rehoming(const Rehoming&) = delete;
  Rehoming& operator=(const Rehoming&) = delete;

  void adopt(const spec::Rehome& rules) { rules_ = rules; }
  // Again after every change of its endpoint.
  void enlist(Exchange& exchange);
  void delist(Exchange& exchange);
  // After a change of the routing or of an endpoint: whoever is no longer at home leaves within
  // the rules' times, or sooner when only `at_most` is left.
  void review(Duration at_most = Duration::max());
  // The worker ends: everybody leaves.
  void dismiss(Duration at_most);
  // It is at home, or nobody is ever told to leave.
  bool may_stay(Exchange& exchange) const;
  // Leaves now.
  void hurry(Exchange& exchange);
  template <class F>
  void for_each(F f) {
    for (auto& [exchange, due] : streams_) f(*exchange);
  }
  // Told to leave, since the start.
  std::uint64_t count() const { return count_; }

 private:
  void on_expired() override;
  void schedule(Exchange& exchange, Duration at_most);
  void put(Exchange& exchange, Mono due);
  void unschedule(Exchange& exchange);
  void rearm();

  io::Loop& loop_;
  http::IdSource& ids_;
  spec::Rehome rules_;
  std::unordered_map<Exchange*, Mono> streams_;  // when it leaves; kNever: at home
  std::set<std::pair<Mono, Exchange*>> due_;
  bool dismissing_ = false;
  std::uint64_t count_ = 0;
};

}  // namespace banyan::gateway
