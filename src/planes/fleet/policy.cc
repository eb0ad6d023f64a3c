#include "planes/fleet/policy.h"

#include <algorithm>
#include <numeric>

namespace banyan::fleet {
namespace {

using Kind = FleetAct::Kind;
using State = InstanceState;

constexpr Duration kBackoffFirst = 250ms;
constexpr Duration kBackoffMax = 30s;

bool is_leaving(const SeenInstance& seen) {
  return seen.state == State::kDraining || seen.state == State::kStopping;
}

// What to keep first when there are too many.
int rank(State state) {
  switch (state) {
    case State::kReady:
      return 0;
    case State::kUnhealthy:
      return 1;
    case State::kStarting:
      return 2;
    default:
      return 3;
  }
}

bool keep_before(const SeenInstance* a, const SeenInstance* b) {
  if (rank(a->state) != rank(b->state)) return rank(a->state) < rank(b->state);
  return a->id < b->id;
}

FleetAct act_on(const SeenInstance& seen, Kind kind) {
  return {.kind = kind, .service = seen.service, .zone = seen.zone, .instance = seen.id};
}

class ServicePlan {
 public:
  ServicePlan(const ServiceWish& wish, std::vector<const SeenInstance*> seen, Mono now)
      : wish_(wish), seen_(std::move(seen)), now_(now), targets_(zone_targets(wish)) {}

  std::vector<FleetAct> acts() {
    for (std::size_t zone = 0; zone < wish_.zones.size(); ++zone)
      fill(wish_.zones[zone], targets_[zone]);
    for (const SeenInstance* seen : seen_)
      if (!is_leaving(*seen) && !is_kept(*seen)) surplus_.push_back(seen);
    shed();
    for (const SeenInstance* seen : seen_) on_time(*seen);
    return std::move(acts_);
  }

 private:
  // Keeps the best of a zone and starts what it lacks.
  void fill(const std::string& zone, int target) {
    std::vector<const SeenInstance*> here;
    for (const SeenInstance* seen : seen_)
      if (!is_leaving(*seen) && seen->zone == zone && seen->revision == wish_.revision)
        here.push_back(seen);
    std::ranges::sort(here, keep_before);
    for (int i = 0; i < target; ++i) {
      if (i < static_cast<int>(here.size()))
        kept_.push_back(here[i]);
      else
        acts_.push_back(
            {.kind = Kind::kStart, .service = wish_.name, .zone = zone, .instance = {}});
    }
  }

  void shed() {
    const int wanted = std::accumulate(targets_.begin(), targets_.end(), 0);
    auto ready = std::ranges::count_if(
        seen_, [](const SeenInstance* seen) { return seen->state == State::kReady; });
    std::ranges::sort(surplus_, [](auto* a, auto* b) { return keep_before(b, a); });
    for (const SeenInstance* seen : surplus_) {
      if (seen->state == State::kReady && ready <= wanted) continue;
      if (seen->state == State::kReady) --ready;
      acts_.push_back(act_on(*seen, leave(seen->state)));
    }
  }

  static Kind leave(State state) {
    if (state == State::kBackoff) return Kind::kForget;
    return state == State::kStarting ? Kind::kTerminate : Kind::kDrain;
  }

  bool is_kept(const SeenInstance& seen) const {
    return std::ranges::find(kept_, &seen) != kept_.end();
  }

  void on_time(const SeenInstance& seen) {
    const Duration age = now_ - seen.since;
    const auto act = [&](bool due, Kind kind) {
      if (due) acts_.push_back(act_on(seen, kind));
    };
    switch (seen.state) {
      case State::kReady:
        return;
      case State::kStarting:
        return act(is_kept(seen) && age > wish_.start_max, Kind::kKill);
      case State::kUnhealthy:
        return act(is_kept(seen) && age > wish_.unhealthy_max, Kind::kKill);
      case State::kBackoff:
        return act(is_kept(seen) && now_ >= seen.retry_at, Kind::kRelaunch);
      case State::kDraining:
        return act(age >= wish_.drain, Kind::kTerminate);
      case State::kStopping:
        return act(age >= wish_.stop_grace, Kind::kKill);
    }
  }

  const ServiceWish& wish_;
  std::vector<const SeenInstance*> seen_;
  Mono now_;
  std::vector<int> targets_;  // by zone
  std::vector<const SeenInstance*> kept_;
  std::vector<const SeenInstance*> surplus_;
  std::vector<FleetAct> acts_;
};

std::vector<const SeenInstance*> of_service(const std::vector<SeenInstance>& observed,
                                            std::string_view name) {
  std::vector<const SeenInstance*> found;
  for (const SeenInstance& seen : observed)
    if (seen.service == name) found.push_back(&seen);
  return found;
}

}  // namespace

std::string_view state_name(InstanceState state) {
  switch (state) {
    case State::kStarting:
      return "starting";
    case State::kReady:
      return "ready";
    case State::kUnhealthy:
      return "unhealthy";
    case State::kBackoff:
      return "backoff";
    case State::kDraining:
    case State::kStopping:
      return "draining";
  }
  return "stopped";
}

std::vector<int> zone_targets(const ServiceWish& wish) {
  std::vector<int> targets;
  const int zones = static_cast<int>(wish.zones.size());
  for (int zone = 0; zone < zones; ++zone) {
    const int even = wish.instances / zones + (zone < wish.instances % zones ? 1 : 0);
    targets.push_back(std::max(even, wish.min_per_zone));
  }
  return targets;
}

std::vector<FleetAct> next_fleet_acts(const std::vector<ServiceWish>& desired,
                                      const std::vector<SeenInstance>& observed, Mono now) {
  std::vector<ServiceWish> wishes = desired;
  for (const SeenInstance& seen : observed)  // services nobody wants any more
    if (std::ranges::find(wishes, seen.service, &ServiceWish::name) == wishes.end())
      wishes.push_back({.name = seen.service, .revision = {}, .zones = {}});
  std::vector<FleetAct> acts;
  for (const ServiceWish& wish : wishes)
    for (FleetAct& act : ServicePlan(wish, of_service(observed, wish.name), now).acts())
      acts.push_back(std::move(act));
  return acts;
}

// The first restart is immediate: most deaths are single.
Duration backoff_delay(int failures, double chance) {
  if (failures <= 1) return Duration::zero();
  const int doublings = std::min(failures - 2, 10);
  const Duration delay = std::min(kBackoffFirst * (1 << doublings), kBackoffMax);
  return std::chrono::duration_cast<Duration>(delay * (0.75 + chance / 2));
}

}  // namespace banyan::fleet
