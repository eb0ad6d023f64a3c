#pragma once
// Gateway: N workers that serve one snapshot behind one gate; the public API of this plane.
//
// Every order is idempotent and, before it is answered, in the state file: after a crash the
// gateway comes back with the same snapshot and, when the hold was committed, still closed. (A
// revocable hold does not survive: the gate would have opened by itself, and commit() is refused
// then.) Any thread but the workers'.
//
// One gateway may take over from another, in another process, while both serve:
//   serving ── hand_over ──► handing over ── retire ──► retired (drains; orders act, are not
//   stored)
//      ▲                          │
//      └────── keep_serving ──────┘ the successor failed
// Orders are refused while handing over, so the successor reads a state that stays as it is.

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"
#include "io/descriptor.h"
#include "io/workers.h"
#include "planes/gateway/health_checker.h"
#include "planes/gateway/shared_rates.h"
#include "planes/gateway/state_file.h"
#include "planes/gateway/tls_keeper.h"
#include "planes/gateway/worker.h"

namespace banyan::gateway {

struct GatewayOptions {
  std::string state_dir;
  std::size_t workers = 1;
};

// What a gateway gives to its successor. Everything else is in the state file.
struct Inheritance {
  struct Listening {
    std::string name;        // as in RouteSnapshot::listen
    std::size_t worker = 0;  // whose queue it was
    io::Descriptor socket;
  };
  std::vector<Listening> listeners;
  std::vector<EndpointName> unhealthy;
  std::map<std::string, std::string> ticket_keys;  // by address of `listen`; secret
};

struct HoldRequest {
  std::uint64_t epoch = 0;
  std::vector<std::string> routes = {"*"};
  std::vector<std::string> hosts = {};  // empty: routes of any host
  MethodClass methods = MethodClass::kAll;
  double resume = kResumeSpeed;  // of the rate before; see Hold
  HoldBounds bounds{};           // of the whole gateway; max_wait comes from the snapshot's limits
};

class Gateway {
  struct Passkey {};

 public:
  // Serves the recorded snapshot, if there is one.
  static Result<std::unique_ptr<Gateway>> start(const GatewayOptions& options,
                                                Inheritance inheritance = {});
  Gateway(Passkey, const GatewayOptions& options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // The epoch in force. Conflict: it is older than that, or the same with other content.
  Result<std::uint64_t> put_snapshot(RouteSnapshot snapshot);
  Result<void> close_hold(const HoldRequest& request);
  Result<void> commit_hold(std::uint64_t epoch);
  // Conflict when the snapshot in force is older than `epoch`.
  Result<HoldStats> open_hold(std::uint64_t epoch, double pace_per_s);
  // How many requests are still inside it when it is drained or the time is over. It stays out,
  // over restarts too, until it is taken in again or a snapshot no longer knows it. Streams that
  // are at it are ended within the time, unless the snapshot's `rehome` says never.
  Result<std::int64_t> drain_endpoint(const EndpointName& endpoint, Duration timeout);
  Result<void> undrain_endpoint(const EndpointName& endpoint);
  nlohmann::json status();
  // The snapshot in force, as JSON; null before the first.
  nlohmann::json snapshot();
  // Prometheus text.
  std::string metrics();
  // Requests as they end, from the first call on: returns when there are some, or after `patience`.
  // It goes on watching for a while after each call.
  TapLines tap(const TapFilter& filter, Duration patience);
  // The lines of the access log that name this request id or trace, newest first, at most ten.
  Result<std::vector<nlohmann::json>> find_request(const std::string& id);
  // Goes on serving, and refuses orders until one of the two calls below. Conflict while a hold is
  // closed, or when it is not serving.
  Result<Inheritance> hand_over();
  void keep_serving();
  // The successor accepts. Connections finish their requests; upgraded ones live on.
  void retire();
  bool is_retired() const;
  // Connections that are still open.
  std::size_t sessions();
  // How long a retired gateway may wait for its connections.
  Duration retirement() const;
  // Stops accepting, lets requests finish within the snapshot's drain time, ends the rest.
  void drain();

 private:
  enum class Reign : std::uint8_t { kServing, kHandingOver, kRetired };
  struct Current {
    std::shared_ptr<const Routing> routing;  // null before the first snapshot
    HoldOrder order;
    Mono closed_at{};
    std::set<EndpointName> draining;
    Reign reign = Reign::kServing;
  };
  struct EndpointReport {
    std::string backend;
    std::string zone;
    EndpointGauge gauge{};
    bool draining = false;
  };
  struct Report {
    GatewayMetrics metrics;
    HoldStats hold;
    std::vector<EndpointReport> endpoints;
    BackendGauges backends;
  };

  Result<void> start_workers();
  Result<void> resume(const GatewayState& recorded, Inheritance inheritance);
  Result<void> inherit(Inheritance inheritance);
  std::vector<EndpointName> unhealthy();
  static void inherit_ticket_keys(const Routing& routing, const Inheritance& inheritance);
  static Result<void> may_order(const Current& current);
  static Result<void> refuse_stale(const Current& current, std::uint64_t epoch);
  Result<std::shared_ptr<const Routing>> create_routing(RouteSnapshot snapshot);
  Result<void> persist(const Current& current) const;
  Result<void> install(Current& current, std::shared_ptr<const Routing> routing);
  Result<void> open_listeners(const Routing& routing);
  void adopt(const std::shared_ptr<const Routing>& routing);
  Result<void> check_epoch(const Current& current, const RouteSnapshot& snapshot) const;
  Result<void> commit_on_workers(Current& current);
  HoldStats open_on_workers(const Current& current, double pace_per_s);
  HoldStats hold_stats();
  std::int64_t active_in(const EndpointName& endpoint);
  void set_draining(const EndpointName& endpoint, bool draining, Duration at_most);
  Result<void> record_draining(const EndpointName& endpoint, bool draining,
                               Duration at_most = Duration::max());
  Report report();
  static void report_endpoints(const Worker& worker, Report& report);
  static void report_backends(Worker& worker, Report& report);
  static nlohmann::json backends_json(const Report& report);
  std::string certificate_metrics();
  std::string shared_limits_metrics() const;
  void wait_for_sessions(Duration at_most);

  GatewayOptions options_;
  SystemClock clock_;
  ClientRates client_rates_;
  SharedRates shared_rates_{client_rates_, clock_};
  ClientConnections client_connections_;
  ClientConnections held_requests_;
  TraceExporter traces_;
  StateFile state_file_;
  TlsKeeper tls_;
  Guarded<Current> current_;
  std::unique_ptr<io::Workers> threads_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<HealthChecker> health_;  // on the first worker's loop
  bool drained_ = false;
};

}  // namespace banyan::gateway
