#pragma once
// Routing: a RouteSnapshot made ready to serve: routes compiled, addresses resolved. Immutable;
// shared by all workers and by the requests that began under it.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/address.h"
#include "io/tls.h"
#include "planes/gateway/route_table.h"
#include "planes/gateway/snapshot.h"

namespace banyan::gateway {

struct EndpointPlan {
  std::string address;
  std::string zone;
  bool local = false;  // in the gateway's own zone
  int weight = 1;
  bool backup = false;
  io::Address resolved;
  bool http2 = false;
  std::shared_ptr<const io::TlsClient> tls;  // null: plain

  std::optional<io::TlsClientOptions> tls_options() const {
    return tls ? std::optional(tls->options()) : std::nullopt;
  }
};

// One address of `listen`, ready to use.
struct ListenerPlan {
  std::string name;
  ListenerSpec spec;
  std::shared_ptr<io::TlsServer> tls;
  std::string hsts;  // the header's line, or empty

  // Empty too where the response has one of its own: browsers look at the first.
  std::string_view hsts_for(const http::Head& response) const {
    const bool has_own = !hsts.empty() && response.find("strict-transport-security") != nullptr;
    return has_own ? std::string_view() : hsts;
  }
};

inline constexpr std::size_t kNoBackend = ~std::size_t{0};

// Why a request is tried again (spec::Retry::on).
struct RetryReasons {
  bool connect = false;
  bool reset = false;
  bool timeout = false;
  std::vector<spec::StatusRange> statuses;
};

// Where requests of a route go, as indexes into Routing::backends.
struct RoutePlan {
  std::size_t backend = kNoBackend;  // without weights, or the stable side
  std::vector<std::size_t> targets;  // as rules.weights
  std::size_t fallback = kNoBackend;
  RetryReasons retry;
  bool edits_request = false;
  bool edits_response = false;
  bool needs_facts = false;  // the way depends on headers or on the client's address
};

struct BackendPlan {
  std::string name;
  std::vector<EndpointPlan> endpoints;
  std::optional<spec::Health> health;
  std::string health_host;  // Host of the probes; empty: the endpoint's address
  spec::Traffic traffic;
};

struct Routing {
  RouteSnapshot snapshot;
  RouteTable table;
  std::vector<BackendPlan> backends;
  std::vector<RoutePlan> plans;  // by Route::index
  std::vector<io::Address> listen;
  std::vector<std::shared_ptr<const ListenerPlan>> listeners;  // as snapshot.listen

  using TlsSource =
      std::function<Result<std::shared_ptr<io::TlsServer>>(const io::TlsServerOptions&)>;
  // Asks the resolver and reads certificates; never on a worker.
  static Result<std::shared_ptr<const Routing>> create(
      RouteSnapshot snapshot, const TlsSource& tls = io::TlsServer::create);
  // Null when the address is not of this snapshot.
  std::shared_ptr<const ListenerPlan> listener(const std::string& name) const;
};

}  // namespace banyan::gateway
