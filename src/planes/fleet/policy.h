#pragma once
// The fleet's policy: from what is wanted and what is seen to what to do next. Pure.
//
//   (start) ─► starting ──healthy──► ready ◄──────► unhealthy
//                 │ exit, too long     │ exit           │ exit, too long
//                 └────────► backoff ◄─┴────────────────┘
//                              └─ delay over ─► starting
//   any of these ─ surplus ─► draining ─ drained ─► stopping ─ exit ─► (gone)
//
//   starting   the process was started and has not answered its health check
//   ready      answers; unhealthy: answered before and fails now. Both set by the health checks.
//   backoff    there is no process; one is started when the delay is over. Set when it exits.
//   draining   gets no new requests; the process is still asked nothing. Set by kDrain.
//   stopping   was sent SIGTERM, and SIGKILL after its grace. Set by kTerminate.
// All are kept in the state store and survive the agent, as the processes do.

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace banyan::fleet {

enum class InstanceState : std::uint8_t {
  kStarting,
  kReady,
  kUnhealthy,
  kBackoff,
  kDraining,
  kStopping,
};
// As fleet.status spells it; stopping is "draining" there.
std::string_view state_name(InstanceState state);

struct ServiceWish {
  std::string name;
  std::string revision;  // of command and environment: instances of another one are replaced
  int instances = 0;
  int min_per_zone = 0;
  std::vector<std::string> zones;
  Duration start_max = 60s;      // from starting to ready
  Duration unhealthy_max = 30s;  // then it is killed and started again
  Duration drain = 1s;
  Duration stop_grace = 10s;
};

struct SeenInstance {
  std::string id;
  std::string service;
  std::string zone;
  std::string revision;
  InstanceState state = InstanceState::kStarting;
  Mono since{};     // in this state
  Mono retry_at{};  // of kBackoff
};

struct FleetAct {
  enum class Kind : std::uint8_t {
    kStart,      // a new instance of service in zone
    kRelaunch,   // an instance whose back-off is over
    kDrain,      // take it out of service
    kTerminate,  // SIGTERM
    kKill,       // SIGKILL; what follows is seen as an exit
    kForget,     // it has no process and is not wanted
  };
  Kind kind = Kind::kStart;
  std::string service;
  std::string zone;
  std::string instance;  // empty for kStart
};

// How many instances each zone gets: even, the first zones one more, none below the minimum.
std::vector<int> zone_targets(const ServiceWish& wish);

// Starts before it drains: a ready instance is taken away only while as many as wanted stay ready.
std::vector<FleetAct> next_fleet_acts(const std::vector<ServiceWish>& desired,
                                      const std::vector<SeenInstance>& observed, Mono now);

// The pause before the n-th attempt after n failures in a row; `chance` in [0, 1) spreads it.
Duration backoff_delay(int failures, double chance);

}  // namespace banyan::fleet
