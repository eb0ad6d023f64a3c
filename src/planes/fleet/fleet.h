#pragma once
// Fleet: the instances of the services wanted, kept as the policy says. Not thread-safe.
//
// A tick observes (exits, outcomes of health checks), decides by the policy and acts; nothing in it
// blocks. What is about to be started is in the state store before it is started, so after the
// agent was killed every process is found again: by pid and start time, or by its mark.

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "planes/fleet/health_probe.h"
#include "planes/fleet/policy.h"
#include "planes/fleet/process.h"
#include "store/journal.h"

namespace banyan::fleet {

struct Zone {
  std::string name;
  std::string address_base;  // "127.0.1.": instances get 127.0.1.1, 127.0.1.2, ...
};

struct ServiceSpec {
  ServiceWish wish;
  std::vector<std::string> command;  // ${PORT}, ${HOST}, ${ZONE}, ${INSTANCE} are replaced
  std::string cwd;
  std::map<std::string, std::string> env;
  std::vector<Zone> zones;
  std::string health_path;  // empty: accepting a connection is enough
  std::string health_host;
  Duration health_timeout = 2s;
};
// The elements of fleet.apply's "services".
Result<std::vector<ServiceSpec>> services_from_json(const nlohmann::json& in);

struct Instance {
  SeenInstance seen;
  std::string host;
  int port = 0;
  Process process;
  std::string mark;
  int restarts = 0;
  int failures = 0;  // in a row
  int misses = 0;    // failed health checks in a row
  Mono probe_at{};
  Wall since{};
};

class Fleet {
 public:
  // Adopts what still runs. `store` and `clock` outlive the fleet; `directory` holds logs/.
  static Result<std::unique_ptr<Fleet>> open(store::StateStore& store, const Clock& clock,
                                             std::string directory);
  Fleet(store::StateStore& store, const Clock& clock, std::string directory);

  // The complete set of services; instances of others are drained and stopped. Durable on return.
  Result<void> apply(const nlohmann::json& services);
  // Wants no instance of the service, or of any when it is empty; forgets the services.
  Result<void> stop(const std::string& service);
  // The gateway sends nothing to this instance any more: no need to wait for the drain time.
  Result<void> drained(const std::string& instance);
  nlohmann::json status() const;
  // Of the service, or of any when it is empty.
  bool has_instances(const std::string& service) const;

  void tick(const std::vector<ProbeOutcome>& outcomes);
  // Health checks that are due.
  std::vector<ProbeTarget> due_probes();

 private:
  Result<void> restore();
  void adopt(Instance& instance);
  Result<void> save();
  void save_if_changed();

  void reap();
  void on_exit(Instance& instance);
  void on_health(const ProbeOutcome& outcome);
  void perform(const FleetAct& act);
  void perform_on(Instance& instance, FleetAct::Kind kind);
  void prepare_start(const FleetAct& act);
  void prepare_launch(Instance& instance);
  void launch_prepared();
  void turn(Instance& instance, InstanceState state);
  void rotate_logs();

  Instance* find(std::string_view id);
  const ServiceSpec* spec_of(std::string_view service) const;
  std::string free_host(const std::string& base) const;
  std::string log_path(const Instance& instance) const;
  std::vector<SeenInstance> observed() const;

  store::StateStore& store_;
  const Clock& clock_;
  std::string directory_;
  std::mt19937_64 random_;
  nlohmann::json services_json_ = nlohmann::json::array();
  std::vector<ServiceSpec> services_;
  std::vector<Instance> instances_;
  bool changed_ = false;
  Mono rotate_at_{};
};

}  // namespace banyan::fleet
