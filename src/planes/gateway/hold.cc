#include "planes/gateway/hold.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "base/check.h"

namespace banyan::gateway {
namespace {

constexpr double kReleaseRateLeast = 200;  // per second
constexpr double kReplaySpeedMost = 1e6;
constexpr double kRateMemoryS = 4;
constexpr Duration kReleaseTick = 1ms;
constexpr std::array kRequests = {PassKind::kRead, PassKind::kWrite};

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Phase phase_from(std::string_view name) {
  if (name == "committed") return Phase::kCommitted;
  return name == "open" ? Phase::kOpen : Phase::kRevocable;
}

template <class T>
T value_or(const nlohmann::json& in, const char* key, T preset) {
  const auto found = in.find(key);
  return found == in.end() || found->is_null() ? preset : found->get<T>();
}

}  // namespace

std::string_view phase_name(Phase phase) {
  switch (phase) {
    case Phase::kOpen:
      return "open";
    case Phase::kRevocable:
      return "revocable";
    case Phase::kCommitted:
      return "committed";
  }
  return "";
}

HoldBounds HoldBounds::share(std::int64_t workers) const {
  HoldBounds out = *this;
  out.max_requests = (max_requests + workers - 1) / workers;
  out.max_bytes = (max_bytes + workers - 1) / workers;
  return out;
}

nlohmann::json HoldOrder::to_json() const {
  return {{"phase", phase_name(phase)},
          {"epoch", epoch},
          {"routes", routes},
          {"hosts", hosts},
          {"methods", methods == MethodClass::kWrites ? "writes" : "all"},
          {"resume", resume},
          {"max_requests", bounds.max_requests},
          {"max_bytes", bounds.max_bytes},
          {"max_body_bytes", bounds.max_body_bytes},
          {"max_per_client", bounds.max_per_client},
          {"max_ms", to_ms(bounds.max_hold)},
          {"max_wait_ms", to_ms(bounds.max_wait)}};
}

Result<HoldOrder> HoldOrder::from_json(const nlohmann::json& in) {
  HoldOrder out;
  try {
    out.phase = phase_from(value_or<std::string>(in, "phase", "revocable"));
    out.epoch = in.at("epoch").get<std::uint64_t>();
    out.routes = value_or<std::vector<std::string>>(in, "routes", {"*"});
    out.hosts = value_or<std::vector<std::string>>(in, "hosts", {});
    out.methods = value_or<std::string>(in, "methods", "all") == "writes" ? MethodClass::kWrites
                                                                          : MethodClass::kAll;
    out.resume = value_or(in, "resume", kResumeSpeed);
    HoldBounds& bounds = out.bounds;
    bounds.max_requests = value_or(in, "max_requests", bounds.max_requests);
    bounds.max_bytes = value_or(in, "max_bytes", bounds.max_bytes);
    bounds.max_body_bytes = value_or(in, "max_body_bytes", bounds.max_body_bytes);
    bounds.max_per_client = value_or(in, "max_per_client", bounds.max_per_client);
    bounds.max_hold = std::chrono::milliseconds(value_or(in, "max_ms", to_ms(bounds.max_hold)));
    const long wait_ms = std::max(to_ms(bounds.max_wait), to_ms(bounds.max_hold));
    bounds.max_wait = std::chrono::milliseconds(value_or(in, "max_wait_ms", wait_ms));
  } catch (const nlohmann::json::exception& error) {
    return failure(Code::kInvalidArgument, fmt::format("hold order: {}", error.what()));
  }
  const HoldBounds& bounds = out.bounds;
  if (bounds.max_requests < 1 || bounds.max_bytes < 1 || bounds.max_body_bytes < 1 ||
      bounds.max_per_client < 0 || bounds.max_hold <= Duration::zero() ||
      bounds.max_wait <= Duration::zero()) {
    return failure(Code::kInvalidArgument, "hold order: every bound must be positive");
  }
  if (!(out.resume > 1)) return failure(Code::kInvalidArgument, "hold order: resume must be > 1");
  return out;
}

double replay_speed(std::int64_t held, Duration hold, double rate_before, double resume) {
  const double arrivals = std::max(1.0, static_cast<double>(held)) / std::max(seconds(hold), 0.001);
  const double wanted = std::max(resume * rate_before, kReleaseRateLeast);
  return std::clamp(wanted / arrivals, resume, kReplaySpeedMost);
}

bool RouteGate::is_empty() const {
  return std::ranges::all_of(inside_, [](std::int64_t count) { return count == 0; });
}

Pass::Pass(RouteGate* gate, PassKind kind) : gate_(gate), kind_(kind), came_as_(kind) {
  ++gate_->count(kind_);
}

Pass::Pass(Pass&& other) noexcept
    : gate_(std::exchange(other.gate_, nullptr)), kind_(other.kind_), came_as_(other.came_as_) {}

Pass& Pass::operator=(Pass&& other) noexcept {
  if (this == &other) return *this;
  leave();
  gate_ = std::exchange(other.gate_, nullptr);
  kind_ = other.kind_;
  came_as_ = other.came_as_;
  return *this;
}

void Pass::leave() {
  RouteGate* gate = std::exchange(gate_, nullptr);
  if (gate == nullptr) return;
  --gate->count(kind_);
  (void)BUG(gate->count(kind_) < 0);  // reported; the count is only read
}

void Pass::turn_into(PassKind kind) {
  if (gate_ == nullptr) return;
  --gate_->count(kind_);
  kind_ = kind;
  ++gate_->count(kind_);
}

void Pass::become_stream() {
  turn_into(PassKind::kStream);
}

void Pass::become_request() {
  turn_into(came_as_);
}

bool Pass::is_held() const {
  return gate_ != nullptr && gate_->is_held(came_as_);
}

Ticket::~Ticket() {
  if (hold_ != nullptr) hold_->forget(*this);
}

std::int64_t Ticket::room() const {
  if (hold_ == nullptr) return 0;
  const HoldBounds& bounds = hold_->order_.bounds;
  return std::max<std::int64_t>(
      0, std::min(bounds.max_body_bytes - body_bytes_, bounds.max_bytes - hold_->queued_bytes_));
}

void Ticket::keep(std::int64_t bytes) {
  if (hold_ == nullptr) return;
  body_bytes_ += bytes;
  hold_->queued_bytes_ += bytes;
}

HoldStats& HoldStats::operator+=(const HoldStats& other) {
  phase = std::min(phase, other.phase);  // a hold that has opened anywhere is open
  epoch = std::max(epoch, other.epoch);
  reads += other.reads;
  writes += other.writes;
  in_flight += other.in_flight;
  rate_before += other.rate_before;
  streams += other.streams;
  waiting += other.waiting;
  bytes += other.bytes;
  held += other.held;
  held_total += other.held_total;
  refused += other.refused;
  failed += other.failed;
  watchdog_opens += other.watchdog_opens;
  longest = std::max(longest, other.longest);
  return *this;
}

Hold::~Hold() {
  for (Ticket* ticket : queue_) ticket->hold_ = nullptr;
}

void Hold::adopt(const RouteTable& table) {
  by_index_.clear();
  for (const Route& route : table.routes()) {
    auto& gate = gates_[route.spec.id];
    if (gate == nullptr) gate = std::make_unique<RouteGate>();
    gate->host_ = route.spec.host.value_or("");
    by_index_.push_back(gate.get());
  }
  std::unordered_set<const RouteGate*> used(by_index_.begin(), by_index_.end());
  for (const Ticket* ticket : queue_) used.insert(ticket->gate_);
  std::erase_if(gates_, [&](const auto& entry) {
    const RouteGate* gate = entry.second.get();
    return gate->is_empty() && !used.contains(gate);
  });
  mark_held();
}

bool Hold::covers(std::string_view route_id, const RouteGate& gate) const {
  const auto& hosts = order_.hosts;
  if (!hosts.empty() && std::ranges::find(hosts, gate.host_) == hosts.end()) return false;
  return std::ranges::any_of(order_.routes,
                             [&](const std::string& id) { return id == "*" || id == route_id; });
}

// While the queue is being released, newcomers of the held routes still go behind it.
void Hold::mark_held() {
  const bool holds = order_.phase != Phase::kOpen || !queue_.empty();
  for (const auto& [id, gate] : gates_) {
    const bool covered = holds && covers(id, *gate);
    gate->held_ = {covered && order_.methods == MethodClass::kAll, covered, false};
  }
}

Entrance Hold::admit(std::size_t route, const Arrival& arrival) {
  RouteGate& gate = *by_index_.at(route);
  if (gate.is_held(arrival.kind)) return enqueue(gate, arrival);
  note_admission();
  return gate.enter(arrival.kind);
}

void Hold::note_admission() {
  const Mono now = clock_.now();
  ++window_count_;
  if (now - window_start_ >= 1s) end_window(now);
}

void Hold::end_window(Mono now) {
  const double lasted = seconds(now - window_start_);
  if (lasted <= 0) return;
  const double weight = rate_ == 0 ? 1 : std::min(1.0, lasted / kRateMemoryS);
  rate_ += (static_cast<double>(window_count_) / lasted - rate_) * weight;
  window_start_ = now;
  window_count_ = 0;
}

std::optional<ClientConnections::Lease> Hold::lease_for(std::string_view client) {
  const std::int64_t most = order_.bounds.max_per_client;
  const auto address = most > 0 ? spec::parse_ip(client) : std::nullopt;
  if (!address) return ClientConnections::Lease();
  ClientConnections::Lease lease = waiting_.enter(*address, most);
  if (!lease) return std::nullopt;
  return lease;
}

Entrance Hold::enqueue(RouteGate& gate, const Arrival& arrival) {
  if (stopping_) return refuse(HoldRefusal::Why::kStopping);
  const HoldBounds& bounds = order_.bounds;
  if (std::ssize(queue_) >= bounds.max_requests) return refuse(HoldRefusal::Why::kTooMany);
  const std::int64_t bytes = arrival.head_bytes + arrival.body_bytes;
  if (queued_bytes_ + bytes > bounds.max_bytes) return refuse(HoldRefusal::Why::kTooManyBytes);
  auto of_client = lease_for(arrival.client);
  if (!of_client) return refuse(HoldRefusal::Why::kTooManyOfClient);
  auto ticket = std::make_unique<Ticket>(Ticket::Private(), *this, gate, arrival.kind);
  ticket->since_ = clock_.now();
  ticket->head_bytes_ = arrival.head_bytes;
  ticket->body_bytes_ = arrival.body_bytes;
  ticket->of_client_ = *std::move(of_client);
  queued_bytes_ += bytes;
  ticket->place_ = queue_.insert(queue_.end(), ticket.get());
  ++stats_.held;
  ++stats_.held_total;
  return ticket;
}

HoldRefusal Hold::refuse(HoldRefusal::Why why) {
  if (why == HoldRefusal::Why::kDeadline)
    ++stats_.failed;
  else
    ++stats_.refused;
  if (order_.phase != Phase::kRevocable) return {why, 5};
  const double left = seconds(closed_at_ + order_.bounds.max_hold - clock_.now());
  return {why, static_cast<int>(std::clamp(std::ceil(left), 1.0, 10.0))};
}

void Hold::forget(Ticket& ticket) {
  queue_.erase(ticket.place_);
  queued_bytes_ -= ticket.head_bytes_ + ticket.body_bytes_;
  ticket.of_client_ = {};
  ticket.hold_ = nullptr;
  if (queue_.empty() && order_.phase == Phase::kOpen) end_release();
}

// What was let in by the release says nothing about how fast requests come.
void Hold::end_release() {
  mark_held();
  window_start_ = clock_.now();
  window_count_ = 0;
}

// The ticket is out of the queue before its owner hears of it, so the owner may do anything.
void Hold::deliver(Ticket& ticket, Admission admission) {
  stats_.longest = std::max(stats_.longest, clock_.now() - ticket.since_);
  forget(ticket);
  auto on_ready = std::move(ticket.on_ready);
  if (on_ready) on_ready(std::move(admission));
}

void Hold::close(const HoldOrder& order, Mono now) {
  if (order_.phase == Phase::kCommitted) return;
  const bool is_same = order_.phase == Phase::kRevocable && order_.epoch == order.epoch;
  if (!is_same) {
    closed_at_ = now;
    const std::int64_t held_total = stats_.held_total;
    const std::int64_t watchdog_opens = stats_.watchdog_opens;
    stats_ = {};
    stats_.held_total = held_total;
    stats_.watchdog_opens = watchdog_opens;
    end_window(clock_.now());
  }
  order_ = order;
  order_.phase = Phase::kRevocable;
  mark_held();
  release_uncovered();
}

Result<void> Hold::commit(std::uint64_t epoch) {
  if (order_.phase == Phase::kCommitted && order_.epoch == epoch) return {};
  const bool is_held = order_.phase == Phase::kRevocable && order_.epoch == epoch;
  // Past its bound the hold counts as open even when the watchdog has not run yet.
  if (!is_held || clock_.now() >= closed_at_ + order_.bounds.max_hold) {
    return failure(Code::kConflict, fmt::format("hold {} is not closed here: phase {}, epoch {}",
                                                epoch, phase_name(order_.phase), order_.epoch));
  }
  order_.phase = Phase::kCommitted;
  return {};
}

HoldStats Hold::open(const Release& release) {
  const HoldStats before = stats();
  if (order_.phase != Phase::kOpen) begin_release(release);
  return before;
}

void Hold::begin_release(const Release& release) {
  order_.phase = Phase::kOpen;
  release_ = release;
  credited_at_ = clock_.now();
  credit_ = 1;
  queue_.empty() ? end_release() : mark_held();
}

void Hold::restore(const HoldOrder& order) {
  order_ = order;
  closed_at_ = clock_.now();
  mark_held();
}

void Hold::stop() {
  stopping_ = true;
  while (!queue_.empty()) deliver(*queue_.front(), refuse(HoldRefusal::Why::kStopping));
}

// When its turn comes in the replay.
Mono Hold::turn_of(const Ticket& ticket) const {
  const Duration after_close = std::max(ticket.since_ - release_.closed_at, Duration::zero());
  const double wait_s = seconds(after_close) / release_.speed;
  return release_.opened_at +
         std::chrono::duration_cast<Duration>(std::chrono::duration<double>(wait_s));
}

void Hold::release_due() {
  const Mono now = clock_.now();
  if (release_.pace_per_s > 0) {
    const double most = std::max(1.0, release_.pace_per_s * 0.05);  // a stall makes no burst
    credit_ = std::min(credit_ + release_.pace_per_s * seconds(now - credited_at_), most);
    credited_at_ = now;
  }
  while (is_releasing() && turn_of(*queue_.front()) <= now) {
    if (release_.pace_per_s > 0 && --credit_ < 0) {
      ++credit_;
      return;
    }
    Ticket& next = *queue_.front();
    deliver(next, next.gate_->enter(next.kind_));
  }
}

void Hold::expire_due() {
  const Mono now = clock_.now();
  while (!queue_.empty() && now >= queue_.front()->since_ + order_.bounds.max_wait) {
    deliver(*queue_.front(), refuse(HoldRefusal::Why::kDeadline));
  }
}

// Waiting requests of routes that the current order leaves alone.
void Hold::release_uncovered() {
  for (;;) {
    const auto found =
        std::ranges::find_if(queue_, [](Ticket* t) { return !t->gate_->is_held(t->kind_); });
    if (found == queue_.end()) return;
    Ticket& ticket = **found;
    deliver(ticket, ticket.gate_->enter(ticket.kind_));
  }
}

void Hold::tick() {
  if (order_.phase == Phase::kRevocable && clock_.now() >= closed_at_ + order_.bounds.max_hold) {
    ++stats_.watchdog_opens;
    begin_release({.closed_at = closed_at_,
                   .opened_at = closed_at_ + order_.bounds.max_hold,
                   .speed = replay_speed(stats_.held, order_.bounds.max_hold, rate_, order_.resume),
                   .pace_per_s = 0});
  }
  // Who is about to be let in does not also time out.
  if (order_.phase == Phase::kOpen) release_due();
  expire_due();
}

std::optional<Mono> Hold::next_wake() const {
  std::optional<Mono> wake;
  const auto at_least = [&](Mono at) { wake = wake ? std::min(*wake, at) : at; };
  if (order_.phase == Phase::kRevocable) at_least(closed_at_ + order_.bounds.max_hold);
  if (!queue_.empty()) at_least(queue_.front()->since_ + order_.bounds.max_wait);
  if (is_releasing()) {
    at_least(std::max(clock_.now() + kReleaseTick, turn_of(*queue_.front())));
  }
  return wake;
}

HoldStats Hold::stats() const {
  HoldStats out = stats_;
  out.phase = order_.phase;
  out.epoch = order_.epoch;
  out.waiting = std::ssize(queue_);
  out.bytes = queued_bytes_;
  out.rate_before = rate_;
  for (const auto& [id, gate] : gates_) {
    out.streams += gate->inside(PassKind::kStream);
    const bool covered = order_.phase == Phase::kOpen || gate->is_held(PassKind::kWrite);
    if (!covered) continue;
    out.reads += gate->inside(PassKind::kRead);
    out.writes += gate->inside(PassKind::kWrite);
    for (const PassKind kind : kRequests)
      if (order_.phase == Phase::kOpen || gate->is_held(kind)) out.in_flight += gate->inside(kind);
  }
  if (!queue_.empty()) {
    out.longest = std::max(out.longest, clock_.now() - queue_.front()->since_);
  }
  return out;
}

}  // namespace banyan::gateway
