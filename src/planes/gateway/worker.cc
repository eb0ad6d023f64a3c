#include "planes/gateway/worker.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/http_date.h"
#include "base/log.h"
#include "planes/gateway/session.h"

namespace banyan::gateway {
namespace {

constexpr Duration kHousekeeping = 1s;
constexpr std::size_t kPipesKept = 32;
constexpr Duration kDescriptorWait = 50ms;  // before accepting again without a free descriptor

}  // namespace

Worker::Worker(io::Loop& loop, const Clock& clock, WorkerOptions options)
    : loop_(loop),
      clock_(clock),
      options_(options),
      hold_(clock, *options.held_requests),
      hold_timer_(*this),
      ids_(options.seed),
      rehoming_(loop, ids_),
      settling_(loop, rehoming_),
      tap_(clock),
      stop_(loop) {
  keep_house();
}

Worker::~Worker() {
  CHECK(stopped());
}

void Worker::HoldTimer::rearm() {
  if (const std::optional<Mono> due = worker_.hold_.next_wake()) arm(*due);
}

void Worker::HoldTimer::on_expired() {
  worker_.hold_.tick();
  worker_.rearm_hold();
}

void Worker::rearm_hold() {
  hold_timer_.rearm();
  settling_.note(hold_.phase());
}

void Worker::adopt(std::shared_ptr<const Routing> routing) {
  routing_ = std::move(routing);
  for (auto& [key, endpoint] : endpoints_) endpoint->retired = true;
  backends_.clear();
  for (const BackendPlan& backend : routing_->backends) {
    std::vector<Endpoint*>& endpoints = backends_.emplace_back();
    for (const EndpointPlan& plan : backend.endpoints)
      endpoints.push_back(&endpoint(backend.name, plan));
  }
  adopt_backends();
  adopt_route_loads();
  sweep_retired();
  hold_.adopt(routing_->table);
  rehoming_.adopt(routing_->snapshot.rehome);
  settling_.adopt(routing_->snapshot.rehome);
  rehoming_.review();
  rearm_hold();
  adopt_access_log();
  close_unused_listeners();
  if (!draining_) start_accepting();
}

Endpoint& Worker::endpoint(const std::string& backend, const EndpointPlan& plan) {
  std::unique_ptr<Endpoint>& known = endpoints_[{backend, plan.address}];
  if (known == nullptr) {
    known = std::make_unique<Endpoint>(loop_, backend, plan, window_budget_);
    if (known_backends_.contains(backend)) known->start_slowly();
  }
  known->adopt(plan);
  return *known;
}

// Requests inside a removed endpoint finish there; then it goes.
void Worker::sweep_retired() {
  for (auto it = endpoints_.begin(); it != endpoints_.end();) {
    if (!it->second->retired) {
      ++it;
      continue;
    }
    it->second->close_idle(io::kNever);
    retired_.push_back(std::move(it->second));
    it = endpoints_.erase(it);
  }
  for (auto& endpoint : retired_) endpoint->close_idle(io::kNever);
  std::erase_if(retired_, [](const auto& endpoint) {
    return endpoint->load.active == 0 && endpoint->links() == 0;
  });
}

void Worker::adopt_access_log() {
  const std::string path = routing_->snapshot.access_log.value_or("");
  if (path != access_log_path_) {
    access_log_path_ = path;
    access_log_.reset();
    if (!path.empty()) open_access_log();
  }
  const auto fields = AccessLine::parse_fields(routing_->snapshot.access_log_fields);
  if (access_log_ && fields) access_log_->set_fields(*fields);
}

void Worker::open_access_log() {
  auto opened = AccessLog::create(access_log_path_, clock_);
  if (opened) {
    access_log_ = *std::move(opened);
  } else {
    log_error("access log not opened",
              {{"path", access_log_path_}, {"error", opened.error().message()}});
  }
}

std::unique_ptr<io::Pipe> Worker::borrow_pipe() {
  if (pipes_.empty()) {
    auto made = io::Pipe::create();
    return made ? *std::move(made) : nullptr;
  }
  std::unique_ptr<io::Pipe> pipe = std::move(pipes_.back());
  pipes_.pop_back();
  return pipe;
}

void Worker::give_back_pipe(std::unique_ptr<io::Pipe> pipe) {
  if (pipe->is_empty() && pipes_.size() < kPipesKept) pipes_.push_back(std::move(pipe));
}

std::string_view Worker::date() {
  const Wall now = clock_.wall();
  const auto second = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  if (std::exchange(dated_second_, second) != second) date_ = http_date(now);
  return date_;
}

void Worker::log_request(const AccessEntry& entry) {
  if (access_log_) access_log_->line(entry);
  if (tap_.is_watched(loop_.now())) tap_.note(entry);
}

void Worker::flush_access_log() {
  if (access_log_) access_log_->flush();
}

Result<void> Worker::open_listener(const std::string& name, const io::Address& at) {
  if (draining_ || listeners_.contains(name)) return {};
  TRY(std::unique_ptr<io::Listener> listener, io::Listener::open(loop_, at));
  listeners_.emplace(name, NamedListener{.listener = std::move(listener)});
  return {};
}

void Worker::start_accepting() {
  for (auto& [name, named] : listeners_) {
    named.plan = routing_->listener(name);
    if (!std::exchange(named.accepting, true)) accept_on(name, *named.listener);
  }
}

Result<void> Worker::inherit_listener(const std::string& name, io::Descriptor socket) {
  TRY(std::unique_ptr<io::Listener> listener, io::Listener::adopt(loop_, std::move(socket)));
  listeners_.emplace(name, NamedListener{.listener = std::move(listener)});
  return {};
}

std::vector<std::pair<std::string, io::Descriptor>> Worker::listening_sockets() const {
  std::vector<std::pair<std::string, io::Descriptor>> out;
  for (const auto& [name, named] : listeners_)
    out.emplace_back(name, io::Descriptor(::fcntl(named.listener->fd(), F_DUPFD_CLOEXEC, 0)));
  return out;
}

void Worker::close_unused_listeners() {
  for (auto at = listeners_.begin(); at != listeners_.end();) {
    const bool used =
        routing_ != nullptr && std::ranges::count(routing_->snapshot.listen, at->first) > 0;
    at = used ? std::next(at) : close_listener(at);
  }
}

Worker::Listeners::iterator Worker::close_listener(Listeners::iterator at) {
  NamedListener& named = at->second;
  // Whoever has connected is served: closing would reset those that wait to be accepted.
  if (named.accepting)
    for (int fd = named.listener->accept_now(); fd >= 0; fd = named.listener->accept_now())
      open_session(fd, named.plan);
  let_go(named);
  return listeners_.erase(at);
}

void Worker::let_go(NamedListener& named) {
  named.listener->close();
  // Its coroutine still runs once; the object stays for it.
  closed_listeners_.push_back(std::move(named.listener));
}

io::Detached Worker::accept_on(std::string name, io::Listener& listener) {
  ++running_;
  while (true) {
    const int fd = co_await listener.accept();
    if (fd == io::Listener::kClosed) break;
    if (fd == io::Listener::kExhausted) {
      co_await loop_.sleep_until(loop_.now() + kDescriptorWait);
      continue;
    }
    open_session(fd, listeners_.find(name)->second.plan);
  }
  --running_;
}

void Worker::open_session(int fd, const std::shared_ptr<const ListenerPlan>& listener) {
  ++metrics_.connections_accepted;
  const auto limit = static_cast<std::size_t>(routing_->snapshot.limits.connections);
  if (sessions_.size() >= std::max<std::size_t>(1, limit / options_.workers)) {
    metrics_.count_refused("too many connections");
    ::close(fd);
    return;
  }
  if (!takes_client(fd)) {
    metrics_.count_refused("too many connections of one client");
    ::close(fd);
    return;
  }
  Session::serve(*this, fd, listener);
}

io::Detached Worker::keep_house() {
  ++running_;
  while (!co_await stop_.wait(loop_.now() + kHousekeeping)) {
    flush_access_log();
    for (auto& [key, endpoint] : endpoints_) endpoint->close_idle(loop_.now() - Endpoint::kIdleMax);
    sweep_retired();
  }
  --running_;
}

void Worker::drain() {
  begin_drain();
  if (routing_ != nullptr) rehoming_.dismiss(routing_->snapshot.limits.drain_ms);
  while (!listeners_.empty()) close_listener(listeners_.begin());
}

void Worker::begin_drain() {
  draining_ = true;
  for (Session* session : sessions_) session->begin_drain();
}

void Worker::retire() {
  begin_drain();
  for (auto& [name, named] : listeners_) let_go(named);
  listeners_.clear();
}

void Worker::close_idle_sessions(double share) {
  const auto last = static_cast<std::uint64_t>(std::clamp(share, 0.0, 1.0) * 1024);
  for (Session* session : sessions_) {
    // A number of its own for each session, 0 to 1023: Fibonacci hashing of where it is.
    const auto place = reinterpret_cast<std::uintptr_t>(session) >> 4;
    if (((place * 0x9E3779B97F4A7C15ULL) >> 54) < last) session->close_if_idle();
  }
}

void Worker::cancel_sessions() {
  for (Session* session : sessions_) session->cancel();
}

void Worker::stop() {
  hold_.stop();
  for (auto& [key, endpoint] : endpoints_) endpoint->close_links();
  for (auto& endpoint : retired_) endpoint->close_links();
  stop_.set();
  flush_access_log();
}

bool Worker::stopped() const {
  const auto no_links = [](const auto& endpoint) { return endpoint->links() == 0; };
  return running_ == 0 && sessions_.empty() && std::ranges::all_of(retired_, no_links) &&
         std::ranges::all_of(endpoints_, [&](const auto& known) { return no_links(known.second); });
}

void Worker::adopt_backends() {
  current_backends_.clear();
  for (auto& [name, backend] : known_backends_) backend->retire();
  for (std::size_t i = 0; i < routing_->backends.size(); ++i) {
    const BackendPlan& plan = routing_->backends[i];
    std::unique_ptr<Backend>& known = known_backends_[plan.name];
    if (known == nullptr) known = std::make_unique<Backend>(plan.name);
    for (Endpoint* endpoint : backends_[i]) endpoint->adopt_rules(plan.traffic);
    known->adopt(plan, backends_[i], options_.workers);
    current_backends_.push_back(known.get());
  }
  std::erase_if(known_backends_, [&](const auto& known) {
    return known.second->is_unused() &&
           std::ranges::find(current_backends_, known.second.get()) == current_backends_.end();
  });
}

void Worker::adopt_route_loads() {
  route_loads_.assign(routing_->table.routes().size(), nullptr);
  for (const Route& route : routing_->table.routes()) {
    const spec::RouteLimits& limits = route.spec.rules.limits;
    if (limits.requests == 0 && !limits.adaptive) continue;
    std::unique_ptr<RouteLoad>& known = known_route_loads_[route.spec.id];
    if (known == nullptr) known = std::make_unique<RouteLoad>();
    known->adopt(limits, options_.workers);
    route_loads_[route.index] = known.get();
  }
  std::erase_if(known_route_loads_, [&](const auto& known) {
    return known.second->places.inside() == 0 &&
           std::ranges::find(route_loads_, known.second.get()) == route_loads_.end();
  });
}

void Worker::enlist(Session& session) {
  sessions_.insert(&session);
  if (lease_) leases_.emplace(&session, std::exchange(lease_, {}));
}

void Worker::delist(Session& session) {
  sessions_.erase(&session);
  if (!leases_.empty()) leases_.erase(&session);
}

// False: this client has as many connections as it may.
bool Worker::takes_client(int fd) {
  const std::int64_t most = routing_->snapshot.limits.client_connections;
  if (most == 0 || options_.client_connections == nullptr) return true;
  const auto address = spec::parse_ip(io::Address::of_peer(fd).host());
  if (!address) return true;
  lease_ = options_.client_connections->enter(*address, most);
  return static_cast<bool>(lease_);
}

void Worker::set_health(const std::string& backend, const std::string& address, bool healthy) {
  const auto found = endpoints_.find({backend, address});
  if (found == endpoints_.end()) return;
  if (healthy && !found->second->load.healthy) found->second->start_slowly();
  found->second->load.healthy = healthy;
}

void Worker::set_draining(const EndpointName& endpoint, bool draining, Duration at_most) {
  const auto found = endpoints_.find({endpoint.backend, endpoint.address});
  if (found == endpoints_.end()) return;
  found->second->load.draining = draining;
  if (draining) found->second->close_idle(io::kNever);
  rehoming_.review(at_most);
}

}  // namespace banyan::gateway
