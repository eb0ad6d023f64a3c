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

namespace banyan::gateway {

using Millis = std::chrono::milliseconds;

struct EndpointSpec {
  std::string address;  // "127.0.0.1:8000", "[::1]:8000" or "unix:/path"
  std::string zone = {};
  bool operator==(const EndpointSpec&) const = default;
};

struct HealthSpec {
  std::string path = "/healthz";
  std::string host;  // Host header of the probe; empty: the endpoint's address
  Millis interval{1000};
  Millis timeout{2000};
  int rise = 2;
  int fall = 3;
  bool operator==(const HealthSpec&) const = default;
};

struct BackendSpec {
  std::vector<EndpointSpec> endpoints;
  std::optional<HealthSpec> health;
  bool operator==(const BackendSpec&) const = default;
};

struct RouteSpec {
  std::string id;
  std::vector<std::string> methods;  // empty: any
  std::optional<std::string> host;   // lower case; absent: any
  std::string path;                  // "/a/:id/b", "/static/*"
  std::string to;                    // a backend's name
  bool operator==(const RouteSpec&) const = default;
};

// All optional in JSON, under "limits", with these names.
struct LimitsSpec {
  Millis head_ms{10'000};       // to receive a request head
  Millis idle_ms{75'000};       // between requests of a connection
  Millis body_idle_ms{60'000};  // between two reads of a body
  Millis connect_ms{2'000};
  Millis response_ms{60'000};      // to the first byte of a response
  Millis stream_idle_ms{300'000};  // upgraded connections
  Millis hold_wait_ms{30'000};     // one request's own deadline while held
  Millis drain_ms{30'000};         // graceful stop
  Millis retire_ms{3'600'000};     // an upgraded gateway's last connections, such as WebSockets
  std::int64_t head_bytes = 60 * 1024;
  std::int64_t body_bytes = 0;  // 0: no limit
  std::int64_t connections = 20'000;
  std::int64_t retries = 2;
  bool operator==(const LimitsSpec&) const = default;
};

struct RouteSnapshot {
  std::uint64_t epoch = 0;
  std::vector<std::string> listen;
  std::optional<std::string> public_host;
  std::optional<std::string> access_log;
  std::optional<std::string> zone;  // where this gateway runs: its endpoints are preferred
  std::map<std::string, BackendSpec> backends;
  std::vector<RouteSpec> routes;
  LimitsSpec limits;
  bool operator==(const RouteSnapshot&) const = default;

  static Result<RouteSnapshot> from_json(const nlohmann::json& in);
  nlohmann::json to_json() const;
};

}  // namespace banyan::gateway
