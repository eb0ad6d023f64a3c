#include "planes/gateway/gateway.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/metrics_text.h"
#include "planes/gateway/access_search.h"

namespace banyan::gateway {
namespace {

using nlohmann::json;

constexpr Duration kPoll = 10ms;
constexpr Duration kIdleGrace = 300ms;  // idle clients may still send, and are then told to close
constexpr Duration kIdleSpread = 1s;    // over which those that stay idle are closed
constexpr Duration kTapLinger = 2s;
constexpr Duration kEndTime = 5s;  // for sessions that were cancelled

bool has_endpoint(const RouteSnapshot& snapshot, const EndpointName& endpoint) {
  const auto backend = snapshot.backends.find(endpoint.backend);
  if (backend == snapshot.backends.end()) return false;
  return std::ranges::any_of(backend->second.endpoints, [&](const EndpointSpec& known) {
    return known.address == endpoint.address;
  });
}

}  // namespace

Result<std::unique_ptr<Gateway>> Gateway::start(const GatewayOptions& options,
                                                Inheritance inheritance) {
  auto gateway = std::make_unique<Gateway>(Passkey{}, options);
  TRY(const GatewayState recorded, gateway->state_file_.read());
  TRY_VOID(gateway->start_workers());
  TRY_VOID(gateway->resume(recorded, std::move(inheritance)));
  return gateway;
}

Gateway::Gateway(Passkey, const GatewayOptions& options)
    : options_(options), state_file_(options.state_dir) {}

Gateway::~Gateway() {
  if (threads_ == nullptr) return;
  drain();
  threads_->stop();
  health_.reset();
  workers_.clear();
}

Result<void> Gateway::start_workers() {
  TRY(threads_, io::Workers::start(std::max<std::size_t>(1, options_.workers)));
  workers_.resize(threads_->size());
  std::random_device random;
  std::vector<std::uint64_t> seeds(threads_->size());
  for (std::uint64_t& seed : seeds) seed = (std::uint64_t{random()} << 32) | random();
  threads_->run_on_all([&](std::size_t i) {
    const WorkerOptions options{.workers = threads_->size(),
                                .seed = seeds[i],
                                .client_rates = &client_rates_,
                                .client_connections = &client_connections_,
                                .held_requests = &held_requests_,
                                .traces = &traces_};
    workers_[i] = std::make_unique<Worker>(threads_->loop(i), clock_, options);
  });
  health_ = std::make_unique<HealthChecker>(
      threads_->loop(0), [this](const std::string& backend, const std::string& address, bool up) {
        for (auto& worker : workers_) {
          worker->loop().post(
              [to = worker.get(), backend, address, up] { to->set_health(backend, address, up); });
        }
      });
  return {};
}

Result<std::shared_ptr<const Routing>> Gateway::create_routing(RouteSnapshot snapshot) {
  return Routing::create(std::move(snapshot),
                         [this](const io::TlsServerOptions& options) { return tls_.get(options); });
}

Result<void> Gateway::resume(const GatewayState& recorded, Inheritance inheritance) {
  if (!recorded.snapshot) return {};
  TRY(auto routing, create_routing(*recorded.snapshot));
  const bool closed = recorded.hold.phase == Phase::kCommitted;
  const Current current{.routing = routing,
                        .order = closed ? recorded.hold : HoldOrder{},
                        .closed_at = clock_.now(),
                        .draining = recorded.draining,
                        .reign = Reign::kServing};
  adopt(routing);  // no listener yet: nobody passes before the gate is as it was
  for (const EndpointName& endpoint : current.draining)
    set_draining(endpoint, true, Duration::max());
  if (closed) {
    HoldOrder order = recorded.hold;
    order.bounds = order.bounds.share(static_cast<std::int64_t>(workers_.size()));
    threads_->run_on_all([&](std::size_t i) {
      workers_[i]->hold().restore(order);
      workers_[i]->rearm_hold();
    });
    log_warn("gate is still closed", {{"hold_epoch", order.epoch}});
  }
  TRY_VOID(inherit(std::move(inheritance)));
  TRY_VOID(open_listeners(*routing));
  adopt(routing);
  current_.change([&](Current& now) { now = current; });
  return {};
}

Result<void> Gateway::persist(const Current& current) const {
  if (current.reign == Reign::kRetired) return {};  // the file is the successor's
  GatewayState state{.snapshot = std::nullopt, .hold = current.order, .draining = current.draining};
  if (current.routing) state.snapshot = current.routing->snapshot;
  return state_file_.write(state);
}

// ---- snapshots

Result<void> Gateway::may_order(const Current& current) {
  if (current.reign != Reign::kHandingOver) return {};
  return failure(Code::kUnavailable, "the gateway is being upgraded; ask again", Retry::kSafe);
}

Result<void> Gateway::check_epoch(const Current& current, const RouteSnapshot& snapshot) const {
  if (!current.routing) return {};
  const RouteSnapshot& now = current.routing->snapshot;
  if (snapshot.epoch < now.epoch)
    return failure(Code::kConflict, fmt::format("snapshot epoch {} is older than {} in force",
                                                snapshot.epoch, now.epoch));
  if (snapshot.epoch == now.epoch && snapshot != now)
    return failure(Code::kConflict,
                   fmt::format("snapshot epoch {} is in force with other content", now.epoch));
  return {};
}

Result<std::uint64_t> Gateway::put_snapshot(RouteSnapshot snapshot) {
  return current_.with([&](Current& current) -> Result<std::uint64_t> {
    TRY_VOID(may_order(current));
    TRY_VOID(check_epoch(current, snapshot));
    if (current.routing && current.routing->snapshot == snapshot) return snapshot.epoch;
    TRY(auto routing, create_routing(std::move(snapshot)));
    TRY_VOID(install(current, routing));
    log_info("snapshot in force", {{"epoch", routing->snapshot.epoch}});
    return routing->snapshot.epoch;
  });
}

Result<void> Gateway::install(Current& current, std::shared_ptr<const Routing> routing) {
  TRY_VOID(open_listeners(*routing));
  Current next = current;
  next.routing = routing;
  std::erase_if(next.draining, [&](const EndpointName& endpoint) {
    return !has_endpoint(routing->snapshot, endpoint);
  });
  TRY_VOID(persist(next));
  adopt(routing);
  current = next;
  return {};
}

// All or none; connections wait in the kernel until the workers adopt the snapshot.
Result<void> Gateway::open_listeners(const Routing& routing) {
  std::vector<Result<void>> opened(workers_.size());
  const std::vector<std::string>& names = routing.snapshot.listen;
  threads_->run_on_all([&](std::size_t i) {
    for (std::size_t n = 0; n < names.size() && opened[i]; ++n)
      opened[i] = workers_[i]->open_listener(names[n], routing.listen[n]);
  });
  const auto failed = std::ranges::find_if(opened, [](const auto& result) { return !result; });
  if (failed == opened.end()) return {};
  threads_->run_on_all([&](std::size_t i) { workers_[i]->close_unused_listeners(); });
  return *failed;
}

void Gateway::adopt(const std::shared_ptr<const Routing>& routing) {
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->adopt(routing);
    if (i == 0) health_->adopt(*routing);
  });
  tls_.adopt(*routing);
  shared_rates_.adopt(routing->snapshot);
  traces_.adopt(routing->snapshot.tracing.value_or(spec::Tracing{}));
}

// ---- the hold

// An order that was sent to a process that was stopped may arrive when another act is under way.
Result<void> Gateway::refuse_stale(const Current& current, std::uint64_t epoch) {
  if (current.order.phase == Phase::kOpen || epoch >= current.order.epoch) return {};
  return failure(Code::kConflict, fmt::format("the hold of epoch {} is closed, not one of {}",
                                              current.order.epoch, epoch));
}

Result<void> Gateway::close_hold(const HoldRequest& request) {
  return current_.with([&](Current& current) -> Result<void> {
    TRY_VOID(may_order(current));
    if (current.order.phase == Phase::kCommitted) {
      if (current.order.epoch == request.epoch) return {};
      return failure(Code::kConflict,
                     fmt::format("the hold of epoch {} is committed", current.order.epoch));
    }
    TRY_VOID(refuse_stale(current, request.epoch));
    Current next = current;
    next.order = {.phase = Phase::kRevocable,
                  .epoch = request.epoch,
                  .routes = request.routes,
                  .hosts = request.hosts,
                  .methods = request.methods,
                  .resume = request.resume,
                  .bounds = request.bounds};
    if (next.routing) next.order.bounds.max_wait = next.routing->snapshot.limits.hold_wait_ms;
    TRY_VOID(persist(next));
    const Mono now = clock_.now();
    const bool is_same =
        current.order.phase == Phase::kRevocable && current.order.epoch == request.epoch;
    if (!is_same) next.closed_at = now;
    HoldOrder share = next.order;
    share.bounds = share.bounds.share(static_cast<std::int64_t>(workers_.size()));
    threads_->run_on_all([&](std::size_t i) {
      workers_[i]->hold().close(share, now);
      workers_[i]->hold().tick();
      workers_[i]->rearm_hold();
    });
    current = next;
    return {};
  });
}

Result<void> Gateway::commit_hold(std::uint64_t epoch) {
  return current_.with([&](Current& current) -> Result<void> {
    TRY_VOID(may_order(current));
    if (current.order.phase == Phase::kOpen || current.order.epoch != epoch)
      return failure(Code::kConflict, fmt::format("no hold of epoch {} is closed", epoch));
    const Current before = current;
    current.order.phase = Phase::kCommitted;
    if (Result<void> recorded = persist(current); !recorded) {
      current = before;
      return recorded;
    }
    return commit_on_workers(current);
  });
}

// One gate that had opened by itself is enough: then the hold is over on all.
Result<void> Gateway::commit_on_workers(Current& current) {
  std::vector<Result<void>> results(workers_.size());
  threads_->run_on_all([&](std::size_t i) {
    results[i] = workers_[i]->hold().commit(current.order.epoch);
    workers_[i]->rearm_hold();
  });
  const auto failed = std::ranges::find_if(results, [](const auto& result) { return !result; });
  if (failed == results.end()) return {};
  open_on_workers(current, 0);
  current.order.phase = Phase::kOpen;
  if (Result<void> recorded = persist(current); !recorded)
    log_error("opened hold not recorded", {{"error", recorded.error().message()}});
  return *failed;
}

HoldStats Gateway::hold_stats() {
  std::vector<HoldStats> stats(workers_.size());
  threads_->run_on_all([&](std::size_t i) { stats[i] = workers_[i]->hold().stats(); });
  HoldStats sum = stats.front();
  for (std::size_t i = 1; i < stats.size(); ++i) sum += stats[i];
  return sum;
}

// All workers replay by the same clock and at the same speed: requests go in in their order.
HoldStats Gateway::open_on_workers(const Current& current, double pace_per_s) {
  const HoldStats before = hold_stats();
  const Mono now = clock_.now();
  const Release release{.closed_at = current.closed_at,
                        .opened_at = now,
                        .speed = replay_speed(before.held, now - current.closed_at,
                                              before.rate_before, current.order.resume),
                        .pace_per_s = pace_per_s / static_cast<double>(workers_.size())};
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->hold().open(release);
    workers_[i]->hold().tick();
    workers_[i]->rearm_hold();
  });
  return before;
}

Result<HoldStats> Gateway::open_hold(std::uint64_t epoch, double pace_per_s) {
  return current_.with([&](Current& current) -> Result<HoldStats> {
    TRY_VOID(may_order(current));
    TRY_VOID(refuse_stale(current, epoch));
    const std::uint64_t in_force = current.routing ? current.routing->snapshot.epoch : 0;
    if (in_force < epoch)
      return failure(Code::kConflict,
                     fmt::format("snapshot epoch {} is in force, not yet {}", in_force, epoch));
    Current next = current;
    next.order.phase = Phase::kOpen;
    TRY_VOID(persist(next));
    current = next;
    return open_on_workers(current, pace_per_s);
  });
}

// ---- endpoints

void Gateway::set_draining(const EndpointName& endpoint, bool draining, Duration at_most) {
  threads_->run_on_all(
      [&](std::size_t i) { workers_[i]->set_draining(endpoint, draining, at_most); });
}

std::int64_t Gateway::active_in(const EndpointName& endpoint) {
  std::int64_t active = 0;
  for (const EndpointReport& known : report().endpoints)
    if (known.backend == endpoint.backend && known.gauge.address == endpoint.address)
      active += known.gauge.active;
  return active;
}

// Recorded before it is done: what is out stays out when the gateway dies now.
Result<void> Gateway::record_draining(const EndpointName& endpoint, bool draining,
                                      Duration at_most) {
  return current_.with([&](Current& current) -> Result<void> {
    if (!current.routing || !has_endpoint(current.routing->snapshot, endpoint))
      return failure(Code::kNotFound, fmt::format("backend {} has no endpoint {}", endpoint.backend,
                                                  endpoint.address));
    Current next = current;
    if (draining)
      next.draining.insert(endpoint);
    else
      next.draining.erase(endpoint);
    TRY_VOID(persist(next));
    current = next;
    set_draining(endpoint, draining, at_most);
    return {};
  });
}

Result<std::int64_t> Gateway::drain_endpoint(const EndpointName& endpoint, Duration timeout) {
  TRY_VOID(record_draining(endpoint, true, timeout));
  const Mono deadline = clock_.now() + timeout;
  std::int64_t active = active_in(endpoint);
  while (active > 0 && clock_.now() < deadline) {
    std::this_thread::sleep_for(kPoll);
    active = active_in(endpoint);
  }
  return active;
}

Result<void> Gateway::undrain_endpoint(const EndpointName& endpoint) {
  return record_draining(endpoint, false);
}

// ---- reports

void Gateway::report_endpoints(const Worker& worker, Report& report) {
  if (report.endpoints.empty()) {
    for (const auto& backend : worker.backends())
      for (const Endpoint* endpoint : backend)
        report.endpoints.push_back(
            {.backend = endpoint->backend(),
             .zone = endpoint->zone(),
             .gauge = {.backend = endpoint->backend(), .address = endpoint->address()}});
  }
  for (const auto& backend : worker.backends()) {
    for (const Endpoint* endpoint : backend) {
      for (EndpointReport& known : report.endpoints) {
        if (known.backend != endpoint->backend() || known.gauge.address != endpoint->address())
          continue;
        known.gauge.healthy = endpoint->is_usable();
        known.draining = endpoint->load.draining;
        known.gauge.active += endpoint->load.active;
        known.gauge.requests += endpoint->requests;
      }
    }
  }
}

void Gateway::report_backends(Worker& worker, Report& report) {
  const auto backends = worker.current_backends();
  for (std::size_t i = 0; i < backends.size(); ++i) {
    Backend& backend = *backends[i];
    BackendGauge& gauge = report.backends[backend.name()];
    gauge = {.panic = backend.in_panic(worker.loop().now()),
             .inside = backend.places.inside(),
             .waiting = backend.places.waiting(),
             .shed = backend.places.shed(),
             .retries_refused = backend.retries.refused()};
    for (const Endpoint* endpoint : worker.backends()[i]) gauge.ejections += endpoint->ejections();
  }
}

Gateway::Report Gateway::report() {
  std::vector<Report> reports(workers_.size());
  threads_->run_on_all([&](std::size_t i) {
    reports[i].metrics = workers_[i]->metrics();
    reports[i].metrics.rehomed = workers_[i]->rehoming().count();
    reports[i].hold = workers_[i]->hold().stats();
    report_endpoints(*workers_[i], reports[i]);
    report_backends(*workers_[i], reports[i]);
  });
  Report sum = std::move(reports.front());
  for (std::size_t i = 1; i < reports.size(); ++i) {
    sum.metrics.merge(reports[i].metrics);
    sum.hold += reports[i].hold;
    for (const auto& [name, gauge] : reports[i].backends) sum.backends[name] += gauge;
    for (std::size_t e = 0; e < std::min(sum.endpoints.size(), reports[i].endpoints.size()); ++e) {
      sum.endpoints[e].gauge.healthy &= reports[i].endpoints[e].gauge.healthy;
      sum.endpoints[e].gauge.active += reports[i].endpoints[e].gauge.active;
      sum.endpoints[e].gauge.requests += reports[i].endpoints[e].gauge.requests;
    }
  }
  return sum;
}

json Gateway::backends_json(const Report& report) {
  std::map<std::string, json> by_name;
  for (const EndpointReport& endpoint : report.endpoints) {
    json& list = by_name.try_emplace(endpoint.backend, json::array()).first->second;
    list.push_back({{"address", endpoint.gauge.address},
                    {"zone", endpoint.zone},
                    {"healthy", endpoint.gauge.healthy},
                    {"draining", endpoint.draining},
                    {"active", endpoint.gauge.active},
                    {"requests", endpoint.gauge.requests}});
  }
  json out = json::array();
  for (auto& [name, list] : by_name) {
    const auto gauge = report.backends.find(name);
    json one = {{"name", name}, {"endpoints", list}};
    if (gauge != report.backends.end())
      one.update({{"panic", gauge->second.panic},
                  {"waiting", gauge->second.waiting},
                  {"shed", gauge->second.shed}});
    out.push_back(std::move(one));
  }
  return out;
}

json Gateway::snapshot() {
  const Current current = current_.with([](const Current& now) { return now; });
  return current.routing ? current.routing->snapshot.to_json() : json();
}

json Gateway::status() {
  const Current current = current_.with([](const Current& now) { return now; });
  const Report now = report();
  json out = {{"epoch", 0}, {"listen", json::array()}};
  if (current.routing) {
    out["epoch"] = current.routing->snapshot.epoch;
    out["listen"] = current.routing->snapshot.listen;
  }
  out["phase"] = phase_name(now.hold.phase);
  out["hold_epoch"] = now.hold.epoch;
  out["in_flight"] = now.hold.in_flight;
  out["reads"] = now.hold.reads;
  out["writes"] = now.hold.writes;
  out["at"] = rfc3339(clock_.wall());
  out["streams"] = now.hold.streams;
  out["rehomed"] = now.metrics.rehomed;
  out["waiting"] = now.hold.waiting;
  out["waiting_bytes"] = now.hold.bytes;
  out["held"] = now.hold.held;
  out["held_total"] = now.hold.held_total;
  out["refused"] = now.hold.refused;
  out["failed"] = now.hold.failed;
  out["watchdog_opens"] = now.hold.watchdog_opens;
  out["longest_hold_ms"] = to_ms(now.hold.longest);
  out["requests_total"] = now.metrics.requests_total();
  out["failures_total"] = now.metrics.failures_total();
  out["connections"] = now.metrics.connections_open;
  out["backends"] = backends_json(now);
  return out;
}

std::string Gateway::metrics() {
  Report now = report();
  const TraceCounts traces = traces_.counts();
  now.metrics.spans_exported = traces.exported;
  now.metrics.spans_dropped = traces.dropped;
  std::vector<EndpointGauge> gauges;
  for (const EndpointReport& endpoint : now.endpoints) gauges.push_back(endpoint.gauge);
  return prometheus_text(now.metrics, now.hold, gauges, now.backends) + certificate_metrics() +
         shared_limits_metrics();
}

std::string Gateway::shared_limits_metrics() const {
  MetricsText text;
  text.family("banyan_gateway_shared_limits_up", "gauge",
              "1 while rates of clients are shared with other gateways.");
  if (const auto up = shared_rates_.is_up()) text.sample("", *up ? 1 : 0);
  return text.take();
}

std::string Gateway::certificate_metrics() {
  const Current current = current_.with([](const Current& now) { return now; });
  std::string out = fmt::format(
      "# HELP banyan_gateway_certificates_refused_total Certificate files not taken.\n"
      "# TYPE banyan_gateway_certificates_refused_total counter\n"
      "banyan_gateway_certificates_refused_total {}\n"
      "# HELP banyan_gateway_certificate_expires_seconds Until the certificate expires.\n"
      "# TYPE banyan_gateway_certificate_expires_seconds gauge\n",
      tls_.refused());
  if (!current.routing) return out;
  for (const auto& listener : current.routing->listeners)
    if (listener->tls)
      out += fmt::format("banyan_gateway_certificate_expires_seconds{{listener=\"{}\"}} {}\n",
                         listener->name, listener->tls->expires_in_s());
  return out;
}

// ---- looking on

TapLines Gateway::tap(const TapFilter& filter, Duration patience) {
  const Mono deadline = clock_.now() + patience;
  TapLines out;
  while (true) {
    std::vector<TapLines> seen(workers_.size());
    threads_->run_on_all([&](std::size_t i) {
      workers_[i]->tap().watch(filter, clock_.now() + patience + kTapLinger);
      seen[i] = workers_[i]->tap().take();
    });
    for (TapLines& one : seen) {
      std::ranges::move(one.lines, std::back_inserter(out.lines));
      out.dropped += one.dropped;
    }
    if (!out.lines.empty() || clock_.now() >= deadline) return out;
    std::this_thread::sleep_for(kPoll);
  }
}

Result<std::vector<json>> Gateway::find_request(const std::string& id) {
  const auto path = current_.with([](const Current& now) -> std::optional<std::string> {
    return now.routing ? now.routing->snapshot.access_log : std::nullopt;
  });
  if (!path)
    return std::unexpected(Error(Code::kNotFound, "requests are not recorded")
                               .with_remedy("set gateway.access_log in banyan.yaml"));
  threads_->run_on_all([&](std::size_t i) { workers_[i]->flush_access_log(); });
  return find_in_access_log(*path, id);
}

// ---- succession

Result<void> Gateway::inherit(Inheritance inheritance) {
  std::vector<std::vector<Inheritance::Listening*>> shares(workers_.size());
  for (auto& listening : inheritance.listeners)
    shares[listening.worker % shares.size()].push_back(&listening);
  std::vector<Result<void>> results(workers_.size());
  threads_->run_on_all([&](std::size_t i) {
    for (auto* listening : shares[i])
      if (results[i])
        results[i] = workers_[i]->inherit_listener(listening->name, std::move(listening->socket));
    for (const EndpointName& endpoint : inheritance.unhealthy) {
      workers_[i]->set_health(endpoint.backend, endpoint.address, false);
      if (i == 0) health_->assume_unhealthy(endpoint.backend, endpoint.address);
    }
  });
  const auto failed = std::ranges::find_if(results, [](const auto& result) { return !result; });
  return failed == results.end() ? Result<void>{} : *failed;
}

std::vector<EndpointName> Gateway::unhealthy() {
  std::vector<EndpointName> out;
  threads_->run_on(0, [&] {
    for (const auto& backend : workers_[0]->backends())
      for (const Endpoint* endpoint : backend)
        if (!endpoint->load.healthy)
          out.push_back({.backend = endpoint->backend(), .address = endpoint->address()});
  });
  return out;
}

Result<Inheritance> Gateway::hand_over() {
  TRY_VOID(current_.with([](Current& current) -> Result<void> {
    if (current.reign != Reign::kServing)
      return failure(Code::kConflict, "this gateway hands over already, or has retired");
    if (current.order.phase != Phase::kOpen)
      return failure(Code::kConflict, "a hold is closed: upgrade after it");
    current.reign = Reign::kHandingOver;
    return {};
  }));
  Inheritance out{.listeners = {}, .unhealthy = unhealthy()};
  std::vector<std::vector<std::pair<std::string, io::Descriptor>>> sockets(workers_.size());
  threads_->run_on_all([&](std::size_t i) { sockets[i] = workers_[i]->listening_sockets(); });
  for (std::size_t i = 0; i < sockets.size(); ++i)
    for (auto& [name, socket] : sockets[i])
      out.listeners.push_back({.name = name, .worker = i, .socket = std::move(socket)});
  return out;
}

void Gateway::keep_serving() {
  current_.change([](Current& current) { current.reign = Reign::kServing; });
}

void Gateway::retire() {
  current_.change([](Current& current) { current.reign = Reign::kRetired; });
  threads_->run_on_all([&](std::size_t i) { workers_[i]->retire(); });
}

bool Gateway::is_retired() const {
  return current_.with([](const Current& now) { return now.reign == Reign::kRetired; });
}

Duration Gateway::retirement() const {
  return current_.with([](const Current& now) -> Duration {
    return now.routing ? now.routing->snapshot.limits.retire_ms : 0ms;
  });
}

// ---- the end

std::size_t Gateway::sessions() {
  std::vector<std::size_t> counts(workers_.size());
  threads_->run_on_all([&](std::size_t i) { counts[i] = workers_[i]->sessions(); });
  std::size_t sum = 0;
  for (const std::size_t count : counts) sum += count;
  return sum;
}

void Gateway::wait_for_sessions(Duration at_most) {
  const Mono begin = clock_.now();
  while (sessions() > 0 && clock_.now() - begin < at_most) {
    const Duration idle_for = clock_.now() - begin - kIdleGrace;
    const double share = std::chrono::duration<double>(idle_for) / kIdleSpread;
    if (share > 0)
      threads_->run_on_all([&](std::size_t i) { workers_[i]->close_idle_sessions(share); });
    std::this_thread::sleep_for(kPoll);
  }
}

void Gateway::drain() {
  if (std::exchange(drained_, true)) return;
  const Duration drain_time = current_.with([](const Current& current) -> Duration {
    return current.routing ? current.routing->snapshot.limits.drain_ms : 0ms;
  });
  threads_->run_on_all([&](std::size_t i) { workers_[i]->drain(); });
  wait_for_sessions(drain_time);
  if (const std::size_t left = sessions(); left > 0)
    log_warn("ending requests that did not finish in time", {{"connections", left}});
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->hold().stop();
    workers_[i]->cancel_sessions();
  });
  wait_for_sessions(kEndTime);
  threads_->run_on_all([&](std::size_t i) {
    workers_[i]->stop();
    if (i == 0) health_->stop();
  });
  bool stopped = false;
  while (!stopped) {
    std::vector<char> each(workers_.size());
    threads_->run_on_all([&](std::size_t i) {
      each[i] = workers_[i]->stopped() && (i != 0 || health_->stopped()) ? 1 : 0;
    });
    stopped = std::ranges::find(each, 0) == each.end();
    if (!stopped) std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace banyan::gateway
