#include "planes/gateway/gateway.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/log.h"

namespace banyan::gateway {

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
  inherit_ticket_keys(*routing, inheritance);
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
  std::erase_if(next.draining,
                [&](const EndpointName& endpoint) { return !routing->snapshot.has(endpoint); });
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

}  // namespace banyan::gateway
