#pragma once
// RouteSnapshot: everything a gateway needs to serve, as one immutable value with an epoch.
//
// Comes from JSON; every problem is reported at once, each with its path
// ("routes[3].to: no backend named 'web2'"). Equal snapshots have equal JSON.

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/tls.h"
#include "spec/traffic.h"

namespace banyan::gateway {

using Millis = std::chrono::milliseconds;

struct EndpointSpec {
  std::string address;  // "127.0.0.1:8000", "[::1]:8000" or "unix:/path"
  std::string zone = {};
  int weight = 1;       // 1 to 1000
  bool backup = false;  // gets requests only when no other endpoint is healthy
  bool operator==(const EndpointSpec&) const = default;
};

struct EndpointName {
  std::string backend;
  std::string address;
  auto operator<=>(const EndpointName&) const = default;
};

struct BackendSpec {
  std::vector<EndpointSpec> endpoints;
  std::optional<spec::Health> health;
  spec::Traffic traffic = {};
  bool operator==(const BackendSpec&) const = default;
};

struct RouteSpec {
  std::string id;
  std::vector<std::string> methods;  // empty: any
  std::optional<std::string> host;   // lower case, "*.example.org": all below; absent: any
  std::string path;                  // "/a/:id/b", "/static/*"
  std::string to;                    // a backend's name; empty: `rules` say what happens
  spec::RouteRules rules = {};
  bool operator==(const RouteSpec&) const = default;
};

using LimitsSpec = spec::Limits;  // in JSON under "limits", all optional

// How connections to one address of `listen` are treated; plain HTTP when it is not named.
struct ListenerSpec {
  std::optional<io::TlsServerOptions> tls = std::nullopt;
  int redirect_https_port = 0;  // not 0: every request is sent to https on this port
  std::int64_t hsts_s = 0;      // not 0: Strict-Transport-Security with this age
  bool operator==(const ListenerSpec&) const = default;
};

struct RouteSnapshot {
  std::uint64_t epoch = 0;
  std::vector<std::string> listen;
  std::map<std::string, ListenerSpec> listeners = {};  // by address of `listen`
  std::optional<std::string> public_host;
  std::optional<std::string> access_log;
  std::vector<std::string> access_log_fields;  // empty: all but the query; see AccessLine
  std::optional<std::string> zone;  // where this gateway runs: its endpoints are preferred
  std::map<std::string, BackendSpec> backends;
  std::vector<RouteSpec> routes;
  LimitsSpec limits;
  std::optional<spec::SecretPlace> limits_redis = std::nullopt;  // of limits.shared
  std::string desync = "defensive";  // or monitor, strictest; see docs/desync.md
  spec::Rehome rehome = {};
  std::optional<spec::Tracing> tracing = std::nullopt;
  bool operator==(const RouteSnapshot&) const = default;

  static Result<RouteSnapshot> from_json(const nlohmann::json& in);
  nlohmann::json to_json() const;
  bool has(const EndpointName& endpoint) const;
};

}  // namespace banyan::gateway
