#pragma once
// Hold: the gate every request passes: admitted now, kept waiting in order, or refused.
//
//              close                commit
//     open ─────────────► revocable ─────────────► committed
//      ▲                    │     │                    │
//      ├── open ────────────┘     │ bound passed       │
//      ├── by itself (watchdog) ──┘                    │
//      └── open (the recorded decision) ───────────────┘
//
// open       requests pass; those still queued are released first, in order and paced
// revocable  requests of held routes wait; at the bound the gate opens by itself, to the old side
// committed  never opens by itself; each waiting request ends at its own deadline with 503
//
// "Is it open?" and "count it in flight" are one step, because a Hold belongs to one worker and
// that worker's thread: there are no locks and no call from elsewhere. A pure state machine: time
// comes from the Clock, and tick() is called at next_wake(). The owner persists orders and
// collects the workers' answers: if one worker refuses commit(), the commit has failed and all
// must be opened again.
//
// A release replays the arrivals, `speed` times as fast as they came: whoever arrived x after the
// closing is let in x / speed after the opening, and so is who comes meanwhile, until the replay
// has caught up with the present. All workers replay with the same three numbers, so requests go in
// in their order of arrival over all of them, to within a tick (1 ms) and a turn of the loop;
// nobody waits longer than the hold lasted; and what lies behind sees `speed` times the rate of
// the arrivals, not a burst.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "planes/gateway/client_rates.h"
#include "planes/gateway/route_table.h"

namespace banyan::gateway {

enum class Phase : std::uint8_t { kOpen, kRevocable, kCommitted };
std::string_view phase_name(Phase phase);  // "open", "revocable", "committed"

inline constexpr double kResumeSpeed = 1.15;

struct HoldBounds {
  std::int64_t max_requests = 10'000;     // waiting at once, on this worker
  std::int64_t max_bytes = 64 << 20;      // buffered for waiting requests, on this worker
  std::int64_t max_body_bytes = 1 << 20;  // of one waiting request; the rest is not read yet
  std::int64_t max_per_client = 0;  // waiting at once, of one client in this process; 0: no bound
  Duration max_hold = 30s;          // revocable only: opens by itself after this
  Duration max_wait = 30s;          // one request's own deadline
  bool operator==(const HoldBounds&) const = default;
  // One of `workers` equal shares of max_requests and max_bytes.
  HoldBounds share(std::int64_t workers) const;
};

// Writes are what is not GET, HEAD, OPTIONS or TRACE, and every upgrade.
enum class MethodClass : std::uint8_t { kAll, kWrites };

// What the conductor asked for; written to disk by the owner before it is answered.
struct HoldOrder {
  Phase phase = Phase::kOpen;
  std::uint64_t epoch = 0;
  std::vector<std::string> routes = {};  // ids; "*": all
  std::vector<std::string> hosts = {};   // only routes of these hosts; empty: of any
  MethodClass methods = MethodClass::kAll;
  double resume = kResumeSpeed;  // speed of the release by the watchdog
  HoldBounds bounds = {};
  bool operator==(const HoldOrder&) const = default;

  nlohmann::json to_json() const;
  static Result<HoldOrder> from_json(const nlohmann::json& in);
};

enum class PassKind : std::uint8_t { kRead, kWrite, kStream };

// How held requests are let in.
struct Release {
  Mono closed_at{};  // when the replayed time begins
  Mono opened_at{};
  double speed = kResumeSpeed;  // above 1
  double pace_per_s = 0;        // at most so many; 0: no such bound
};

// At least `resume` times as fast as they came and as the traffic was before, and never so slow
// that a few requests take long.
double replay_speed(std::int64_t held, Duration hold, double rate_before, double resume);

class RouteGate;

// "This request is inside." Destroying it says that it is no longer. Must not outlive the Hold.
class Pass {
 public:
  Pass() = default;
  Pass(Pass&& other) noexcept;
  Pass& operator=(Pass&& other) noexcept;
  ~Pass() { leave(); }

  // The response turned out to be endless (upgrade, event stream): no hold waits for it any more.
  void become_stream();
  // The hold that did not wait for it is over; the next one does.
  void become_request();
  // Newcomers of its kind are kept waiting.
  bool is_held() const;
  // Leaves now instead of in the destructor.
  void leave();
  explicit operator bool() const { return gate_ != nullptr; }

 private:
  friend class RouteGate;
  Pass(RouteGate* gate, PassKind kind);
  void turn_into(PassKind kind);

  RouteGate* gate_ = nullptr;
  PassKind kind_ = PassKind::kWrite;
  PassKind came_as_ = PassKind::kWrite;
};

// One route on one worker: how many of its requests are inside, and whether it is held.
class RouteGate {
 public:
  std::int64_t inside(PassKind kind) const { return inside_[std::to_underlying(kind)]; }

 private:
  friend class Hold;
  friend class Pass;
  Pass enter(PassKind kind) { return {this, kind}; }
  std::int64_t& count(PassKind kind) { return inside_[std::to_underlying(kind)]; }
  bool is_held(PassKind kind) const { return held_[std::to_underlying(kind)]; }
  bool is_empty() const;

  std::string host_;                      // of the route; empty: any
  std::array<std::int64_t, 3> inside_{};  // by PassKind
  std::array<bool, 3> held_{};            // streams never are: they come as requests
};

// 503 with this Retry-After.
struct HoldRefusal {
  enum class Why : std::uint8_t {
    kTooMany,
    kTooManyBytes,
    kTooManyOfClient,
    kDeadline,
    kStopping
  } why;
  int retry_after_s = 1;
};
using Admission = std::variant<Pass, HoldRefusal>;

class Hold;

// A place in the queue. Destroy it when the client has gone: the request is then never sent.
class Ticket {
  struct Private {
    explicit Private() = default;
  };

 public:
  Ticket(Private, Hold& hold, RouteGate& gate, PassKind kind)  // made by Hold::admit
      : hold_(&hold), gate_(&gate), kind_(kind) {}
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // Called once, from Hold::tick/open/close/stop, on the worker's thread; the ticket has left the
  // queue by then and may be destroyed inside. Set before returning to the event loop.
  std::move_only_function<void(Admission)> on_ready;

  // How much more of the body may be read; 0: stop reading (do not refuse).
  std::int64_t room() const;
  // So much more of the body has been read.
  void keep(std::int64_t bytes);
  Mono since() const { return since_; }

 private:
  friend class Hold;

  Hold* hold_;  // null: no longer in the queue
  RouteGate* gate_;
  PassKind kind_;
  Mono since_{};
  std::int64_t head_bytes_ = 0;
  std::int64_t body_bytes_ = 0;
  ClientConnections::Lease of_client_;
  std::list<Ticket*>::iterator place_;
};

// One request that comes to the gate.
struct Arrival {
  PassKind kind = PassKind::kWrite;
  std::int64_t head_bytes = 0;   // what the caller keeps of its head if it is queued
  std::int64_t body_bytes = 0;   // and of its body
  std::string_view client = {};  // its address
};

using Entrance = std::variant<Pass, std::unique_ptr<Ticket>, HoldRefusal>;

// Since the last close(), except where said otherwise.
struct HoldStats {
  Phase phase = Phase::kOpen;
  std::uint64_t epoch = 0;
  std::int64_t reads = 0;       // requests now inside routes that the order covers (all when open)
  std::int64_t writes = 0;      // the same, of the other methods
  std::int64_t in_flight = 0;   // of these, what the order waits for
  std::int64_t streams = 0;     // endless ones; no hold waits for them
  std::int64_t waiting = 0;     // now in the queue
  std::int64_t bytes = 0;       // now buffered
  std::int64_t held = 0;        // were made to wait
  std::int64_t held_total = 0;  // since the start of the process
  std::int64_t refused = 0;     // turned away at the bounds
  std::int64_t failed = 0;      // ended at their own deadline
  std::int64_t watchdog_opens = 0;  // since the start of the process
  Duration longest{};
  double rate_before = 0;                         // requests per second before the hold
  HoldStats& operator+=(const HoldStats& other);  // merges two workers
};

class Hold {
 public:
  // `waiting` counts the requests of each client that wait in any worker of the process.
  Hold(const Clock& clock, ClientConnections& waiting)
      : clock_(clock), waiting_(waiting), window_start_(clock.now()) {}
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold();

  // The routes from now on; gates of routes with the same id go on counting. Call before admit.
  void adopt(const RouteTable& table);

  // `route` is Route::index of the adopted table.
  Entrance admit(std::size_t route, const Arrival& arrival);

  // Orders. Doing the same again changes nothing.
  // From open or revocable; committed stays. `now` is the same on all workers.
  void close(const HoldOrder& order, Mono now);
  Result<void> commit(std::uint64_t epoch);  // conflict unless this hold is still closed
  HoldStats open(const Release& release);
  // Back after a restart, as recorded: closed again without a queue.
  void restore(const HoldOrder& order);
  // The worker ends: everybody waiting is refused, and so is who comes later on held routes.
  void stop();

  // Does what is due; call at next_wake() and after every order.
  void tick();
  std::optional<Mono> next_wake() const;

  HoldStats stats() const;
  Phase phase() const { return order_.phase; }

 private:
  friend class Ticket;

  bool covers(std::string_view route_id, const RouteGate& gate) const;
  void mark_held();
  bool is_releasing() const { return order_.phase == Phase::kOpen && !queue_.empty(); }
  Entrance enqueue(RouteGate& gate, const Arrival& arrival);
  // Empty when this client has as many waiting as it may.
  std::optional<ClientConnections::Lease> lease_for(std::string_view client);
  HoldRefusal refuse(HoldRefusal::Why why);
  void forget(Ticket& ticket);
  void deliver(Ticket& ticket, Admission admission);
  void begin_release(const Release& release);
  void release_due();
  Mono turn_of(const Ticket& ticket) const;
  void expire_due();
  void release_uncovered();
  void note_admission();
  void end_window(Mono now);
  void end_release();

  const Clock& clock_;
  ClientConnections& waiting_;
  HoldOrder order_;
  Mono closed_at_{};
  Release release_;
  double credit_ = 0;  // releases earned under a pace and not yet used
  Mono credited_at_{};
  bool stopping_ = false;

  std::map<std::string, std::unique_ptr<RouteGate>, std::less<>> gates_;
  std::vector<RouteGate*> by_index_;
  std::list<Ticket*> queue_;  // oldest first
  std::int64_t queued_bytes_ = 0;
  HoldStats stats_;

  // Admissions per second, for the release to start from: windows of a second, of which the last
  // few count. (A stall makes a burst behind it: a short window would say anything.)
  Mono window_start_{};
  std::int64_t window_count_ = 0;
  double rate_ = 0;
};

}  // namespace banyan::gateway
