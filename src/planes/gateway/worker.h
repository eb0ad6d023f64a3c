#pragma once
// Worker: everything one event-loop thread of the gateway owns: listeners, client sessions,
// endpoints with their connections, the gate, the counters. Only that thread calls it.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "io/event.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/pipe.h"
#include "io/task.h"
#include "planes/gateway/access_log.h"
#include "planes/gateway/backend.h"
#include "planes/gateway/client_rates.h"
#include "planes/gateway/gateway_metrics.h"
#include "planes/gateway/hold.h"
#include "planes/gateway/pool.h"
#include "planes/gateway/rehoming.h"
#include "planes/gateway/route_load.h"
#include "planes/gateway/routing.h"
#include "planes/gateway/settling.h"
#include "planes/gateway/state_file.h"
#include "planes/gateway/tap.h"
#include "planes/gateway/trace_exporter.h"
#include "wire/h2/window_tuner.h"
#include "wire/http/head_writer.h"

namespace banyan::gateway {

class Session;

struct WorkerOptions {
  std::size_t workers = 1;  // bounds of the whole gateway are divided by it
  std::uint64_t seed = 0;
  ClientRates* client_rates = nullptr;              // of the whole gateway
  ClientConnections* client_connections = nullptr;  // likewise
  ClientConnections* held_requests = nullptr;       // likewise; required
  TraceExporter* traces = nullptr;                  // likewise
};

class Worker {
 public:
  Worker(io::Loop& loop, const Clock& clock, WorkerOptions options);
  // The loop no longer runs and every session has ended.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // New requests, and held ones when they are released, follow `routing`; no connection is touched.
  void adopt(std::shared_ptr<const Routing> routing);
  // Listens at an address of the next snapshot; connections are accepted once it is adopted.
  // Listeners that the adopted snapshot does not name are closed.
  Result<void> open_listener(const std::string& name, const io::Address& at);
  // The same with a socket that a predecessor listened on; there may be several of one name.
  Result<void> inherit_listener(const std::string& name, io::Descriptor socket);
  void close_unused_listeners();
  // Duplicates of the listening sockets, for a successor.
  std::vector<std::pair<std::string, io::Descriptor>> listening_sockets() const;

  // Graceful stop: no new connection, `Connection: close` on every response, idle clients leave.
  void drain();
  // The same when a successor has the listening sockets: who waits to be accepted is its client.
  void retire();
  // The share (0..1) of the idle sessions that goes first; the same ones for the same share.
  void close_idle_sessions(double share);
  // Ends what is left at once.
  void cancel_sessions();
  std::size_t sessions() const { return sessions_.size(); }
  // Ends the housekeeping; nothing is suspended on the loop when `stopped` is true.
  void stop();
  bool stopped() const;

  // For sessions.
  const std::shared_ptr<const Routing>& routing() const { return routing_; }
  bool is_draining() const { return draining_; }
  io::Loop& loop() { return loop_; }
  const Clock& clock() const { return clock_; }
  Hold& hold() { return hold_; }
  // After every call that may have queued or released a request.
  void rearm_hold();
  TraceExporter& traces() { return *options_.traces; }
  Rehoming& rehoming() { return rehoming_; }
  GatewayMetrics& metrics() { return metrics_; }
  // Of all HTTP/2 connections, to clients and to endpoints.
  h2::WindowBudget& window_budget() { return window_budget_; }
  // Somebody reads what `log_request` is given.
  bool logs_requests() const { return access_log_ != nullptr || tap_.is_watched(loop_.now()); }
  void log_request(const AccessEntry& entry);
  http::IdSource& ids() { return ids_; }
  // Scratch for parsing: valid until the coroutine suspends.
  http::Head& head() { return head_; }
  std::string& path_scratch() { return path_scratch_; }
  // For a head to be sent at once: an idle connection keeps nothing of it.
  std::string& head_scratch() { return head_scratch_; }
  // Now, as the Date field of a response; valid until the next call.
  std::string_view date();
  void enlist(Session& session);
  void delist(Session& session);
  // Of the routing now in force; stays while a place in it is taken.
  Backend& backend(std::size_t index) { return *current_backends_[index]; }
  // What a route's limits count; null when it has none. Stays while a place in it is taken.
  RouteLoad* route_load(std::size_t route) { return route_loads_[route]; }
  ClientRates& client_rates() { return *options_.client_rates; }

  // An empty pipe for a long body; null when there is none to be had.
  std::unique_ptr<io::Pipe> borrow_pipe();
  void give_back_pipe(std::unique_ptr<io::Pipe> pipe);

  // For the gateway's verbs.
  Tap& tap() { return tap_; }
  void flush_access_log();
  void set_health(const std::string& backend, const std::string& address, bool healthy);
  // Streams at an endpoint that drains are ended within `at_most`.
  void set_draining(const EndpointName& endpoint, bool draining, Duration at_most);
  const std::vector<std::vector<Endpoint*>>& backends() const { return backends_; }
  std::span<Backend* const> current_backends() const { return current_backends_; }

 private:
  static constexpr std::int64_t kWindowBudget = 128 << 20;  // bytes

  // Wakes the hold when something in it is due.
  class HoldTimer final : public io::Timer {
   public:
    explicit HoldTimer(Worker& worker) : Timer(worker.loop_), worker_(worker) {}
    void rearm();

   private:
    void on_expired() override;
    Worker& worker_;
  };
  using EndpointKey = std::pair<std::string, std::string>;  // backend, address

  struct NamedListener {
    std::unique_ptr<io::Listener> listener;
    std::shared_ptr<const ListenerPlan> plan = {};  // of the last snapshot that named it
    bool accepting = false;
  };

  using Listeners = std::multimap<std::string, NamedListener>;

  void begin_drain();
  void start_accepting();
  Listeners::iterator close_listener(Listeners::iterator at);
  void let_go(NamedListener& named);
  io::Detached accept_on(std::string name, io::Listener& listener);
  void open_session(int fd, const std::shared_ptr<const ListenerPlan>& listener);
  io::Detached keep_house();
  Endpoint& endpoint(const std::string& backend, const EndpointPlan& plan);
  void adopt_backends();
  void adopt_route_loads();
  bool takes_client(int fd);
  void adopt_access_log();
  void open_access_log();
  void sweep_retired();

  io::Loop& loop_;
  const Clock& clock_;
  WorkerOptions options_;
  h2::WindowBudget window_budget_{kWindowBudget};
  std::shared_ptr<const Routing> routing_;
  std::map<EndpointKey, std::unique_ptr<Endpoint>> endpoints_;
  std::vector<std::unique_ptr<Endpoint>> retired_;
  std::vector<std::vector<Endpoint*>> backends_;  // as in routing_->backends
  std::map<std::string, std::unique_ptr<Backend>> known_backends_;
  std::vector<Backend*> current_backends_;  // as in routing_->backends
  std::map<std::string, std::unique_ptr<RouteLoad>> known_route_loads_;
  std::vector<RouteLoad*> route_loads_;  // by Route::index
  Listeners listeners_;                  // by name
  std::vector<std::unique_ptr<io::Listener>> closed_listeners_;
  std::vector<std::unique_ptr<io::Pipe>> pipes_;  // empty ones, kept for the next body
  std::set<Session*> sessions_;
  ClientConnections::Lease lease_;  // of the session that is being opened
  std::map<const Session*, ClientConnections::Lease> leases_;
  Hold hold_;
  HoldTimer hold_timer_;
  http::IdSource ids_;
  Rehoming rehoming_;
  Settling settling_;
  GatewayMetrics metrics_;
  std::unique_ptr<AccessLog> access_log_;
  std::string access_log_path_;
  Tap tap_;
  http::Head head_;
  std::string path_scratch_;
  std::string head_scratch_;
  std::int64_t dated_second_ = -1;
  std::string date_;  // of that second
  io::Event stop_;
  int running_ = 0;  // coroutines of the worker itself
  bool draining_ = false;
};

}  // namespace banyan::gateway
