#pragma once
// FleetService: the verbs fleet.* of an agent, and the thread that keeps the fleet. JSON in, JSON
// out; all idempotent; any thread. Ending the service leaves the instances running.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/fleet/fleet.h"

namespace banyan::fleet {

class FleetService {
 public:
  // All outlive the service. Takes up again what was applied before.
  static Result<std::unique_ptr<FleetService>> open(store::StateStore& store, const Clock& clock,
                                                    const std::string& directory);
  FleetService(std::unique_ptr<Fleet> fleet, const Clock& clock);

  // {services: [{name, command, cwd, env, instances, min_per_zone, zones: [{name, address_base}],
  //   health: {path, host, timeout_ms}, stop_grace_ms, drain_ms, start_timeout_ms}]} -> {}
  Result<nlohmann::json> apply(const nlohmann::json& in);
  // -> {services: [{name, desired, ready, instances: [{id, zone, address, pid, state, restarts,
  //   since}]}]}
  Result<nlohmann::json> status(const nlohmann::json& in);
  // {service?, wait_ms?} -> {}: drains and stops; returns when no process is left, kTimeout before.
  Result<nlohmann::json> stop(const nlohmann::json& in);
  // {id} -> {}: ends the draining of an instance early.
  Result<nlohmann::json> drained(const nlohmann::json& in);

 private:
  using Owned = std::unique_ptr<Fleet>;
  void run(const std::stop_token& stop);

  const Clock& clock_;
  Guarded<Owned> fleet_;
  std::jthread keeper_;
};

}  // namespace banyan::fleet
