#pragma once
// Routing: a RouteSnapshot made ready to serve: routes compiled, addresses resolved. Immutable;
// shared by all workers and by the requests that began under it.

#include <memory>
#include <string>
#include <vector>

#include "io/address.h"
#include "planes/gateway/route_table.h"
#include "planes/gateway/snapshot.h"

namespace banyan::gateway {

struct EndpointPlan {
  std::string address;
  std::string zone;
  bool local = false;  // in the gateway's own zone
  io::Address resolved;
};

struct BackendPlan {
  std::string name;
  std::vector<EndpointPlan> endpoints;
  std::optional<HealthSpec> health;
  std::string health_host;  // Host of the probes; empty: the endpoint's address
};

struct Routing {
  RouteSnapshot snapshot;
  RouteTable table;
  std::vector<BackendPlan> backends;
  std::vector<std::size_t> backend_of_route;  // by Route::index
  std::vector<io::Address> listen;

  // Asks the resolver; never on a worker.
  static Result<std::shared_ptr<const Routing>> create(RouteSnapshot snapshot);
};

}  // namespace banyan::gateway
