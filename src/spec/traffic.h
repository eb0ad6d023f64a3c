#pragma once
// What the spec says about traffic: rules of a route and of a backend, and the gateway's limits.
//
// Plain values, used as they are by the gateway, whose snapshot carries them as JSON
// (traffic_json.h). Every setting is declared once, in traffic_fields.h, for the YAML, the JSON and
// the JSON Schema. Durations are milliseconds. An optional that is empty costs a request nothing.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::spec {

using Millis = std::chrono::milliseconds;

struct NameValue {
  std::string name;
  std::string value;
  bool operator==(const NameValue&) const = default;
};

inline constexpr int kWeightMax = 1'000'000;

struct Weight {
  std::string to;  // a backend; the first one of a list is the stable side
  int share = 0;
  bool operator==(const Weight&) const = default;
};

// Conditions besides host, method and path; all must hold.
struct RouteWhen {
  std::vector<NameValue> headers;    // name in lower case; value "*": present, "!": absent
  std::vector<NameValue> query;      // likewise
  std::vector<std::string> sources;  // CIDRs; one of them holds the client's address
  bool operator==(const RouteWhen&) const = default;
  bool empty() const { return headers.empty() && query.empty() && sources.empty(); }
};

struct Redirect {
  int status = 302;
  std::string location;  // with ${scheme} ${host} ${path} ${query} ${uri} and the path's ${names}
  bool operator==(const Redirect&) const = default;
};

struct Respond {
  int status = 200;
  std::string body;
  std::string type = "text/plain; charset=utf-8";
  bool grpc_health = false;  // instead: as a gRPC health service
  bool operator==(const Respond&) const = default;
};

struct Rewrite {
  std::optional<std::string> prefix;  // stands for what the path has before its "/*"
  std::optional<std::string> host;    // sent upstream
  bool operator==(const Rewrite&) const = default;
};

struct HeaderEdits {
  std::vector<NameValue> set;
  std::vector<NameValue> add;
  std::vector<std::string> remove;
  bool operator==(const HeaderEdits&) const = default;
  bool empty() const { return set.empty() && add.empty() && remove.empty(); }
};

struct Headers {
  HeaderEdits request;
  HeaderEdits response;
  bool operator==(const Headers&) const = default;
};

// What tells one client from another.
struct ClientKey {
  std::string by = "client";  // client (address), cookie, header, claim (of a bearer token)
  std::string name;           // of the cookie, header or claim
  std::string salt;
  bool operator==(const ClientKey&) const = default;
};

struct RateLimit {
  int per_second = 0;  // 0: no limit
  int burst = 0;       // 0: as many as per_second
  std::string by = "client";
  std::string name;
  bool operator==(const RateLimit&) const = default;
};

struct RouteLimits {
  std::optional<RateLimit> rate;
  int requests = 0;       // inside at once; 0: no limit
  bool adaptive = false;  // the limit follows the response times
  std::int64_t body_bytes = 0;
  bool operator==(const RouteLimits&) const = default;
};

// Instead of an error: when no answer came from the backend.
struct Fallback {
  std::optional<std::string> to;
  std::optional<Respond> respond;
  bool operator==(const Fallback&) const = default;
};

// When a request is tried again. What may have been done already is not done again, unless
// `unsafe`.
struct Retry {
  // connect: no connection; reset: it ended before an answer; timeout: no answer within
  // per_try_timeout; statuses such as "503" or "502-504".
  std::vector<std::string> on = {"connect", "reset"};
  std::optional<int> attempts;  // further tries; empty: the gateway's
  std::optional<Millis> per_try_timeout;
  std::optional<Millis> backoff;  // empty: the backend's
  bool unsafe = false;            // methods that change something too
  bool operator==(const Retry&) const = default;
};

struct RouteRules {
  RouteWhen when;
  std::vector<Weight> weights;
  std::optional<ClientKey> sticky;
  std::optional<Redirect> redirect;
  std::optional<Respond> respond;
  std::optional<Rewrite> rewrite;
  Headers headers;
  std::optional<Millis> timeout;  // until the first byte of an answer, tries together
  Retry retry;
  RouteLimits limits;
  std::optional<Fallback> fallback;
  std::string desync = "gateway";   // as it says; or monitor, defensive, strictest
  std::string priority = "normal";  // normal, high, low: who waits longer at a full backend
  bool operator==(const RouteRules&) const = default;
};

// When an endpoint is passed over because of how it answers.
struct Eject {
  int failures = 3;   // no connection, or none with an answer: in a row
  int errors = 5;     // 5xx in a row; 0: not looked at
  Millis base{1000};  // doubles with every ejection in a row
  Millis cap{300'000};
  int max_percent = 50;  // of the endpoints; one is always allowed when there are two or more
  bool operator==(const Eject&) const = default;
};

// What one backend takes at once from this gateway.
struct Circuit {
  int connections = 0;  // 0: no limit
  int requests = 0;
  int pending = 1024;  // requests that wait when a limit is reached
  Millis wait{1000};   // how long each waits
  bool operator==(const Circuit&) const = default;
};

// Retries at once, those that wait for their turn included.
struct RetryBudget {
  int percent = 20;  // of the requests inside
  int at_least = 3;
  bool operator==(const RetryBudget&) const = default;
};

// How one finds out whether an endpoint is alive.
struct Health {
  std::string kind = "auto";  // grpc where the backend's protocol is, else http; tcp: it connects
  std::string path = "/healthz";
  std::optional<std::string> host;  // Host header sent; default: the gateway's public_host
  std::vector<std::string> expect = {"200-399"};  // statuses, of kind http
  std::string service;  // asked about, of kind grpc; empty: the whole server
  Millis interval{1000};
  Millis timeout{2000};
  int jitter_percent = 20;  // of the interval, earlier or later by half of it
  int rise = 2;
  int fall = 3;
  bool operator==(const Health&) const = default;
};

// "200" or "200-299"; empty: it is neither.
struct StatusRange {
  int first = 0;
  int last = 0;
  bool contains(int status) const { return status >= first && status <= last; }
};
std::optional<StatusRange> parse_status_range(std::string_view text);

// TLS towards a backend. Files are PEM.
struct UpstreamTls {
  std::string ca;               // who signs the backend's certificate; empty: the system's
  std::string server_name;      // asked for and expected; empty: the endpoint's host
  std::string verify = "full";  // ca: whatever its name; none: it may be anybody's
  std::string certificate;      // the gateway's own, shown to the backend; empty: none
  std::string key;
  bool operator==(const UpstreamTls&) const = default;
};

struct Traffic {
  std::string protocol = "http1";  // h2 (with TLS), h2c (without), grpc (either: as `tls` says)
  std::optional<UpstreamTls> tls;
  std::string balance = "least_request";  // peak_ewma, hash
  ClientKey hash;                         // of balance: hash
  int hash_bound_percent = 125;           // of the mean load one endpoint takes
  Millis slow_start{0};
  int panic_percent = 50;
  Eject eject;
  Circuit limits;
  RetryBudget retry_budget;
  Millis backoff{25};  // before the first retry; doubles, at most 10 times it, with full jitter
  bool operator==(const Traffic&) const = default;
  bool speaks_http2() const { return protocol != "http1"; }
  bool uses_tls() const { return tls || protocol == "h2"; }
};

// How endpoints that are served like this are checked: http, tcp or grpc.
inline std::string check_kind(const Health& health, const Traffic& traffic) {
  if (health.kind != "auto") return health.kind;
  return traffic.protocol == "grpc" ? "grpc" : "http";
}

// Where spans go, and of how many traces.
struct Tracing {
  std::string otlp;  // "http://host:port" of a collector, or https; empty: nowhere
  std::string ca;    // PEM file of who signs its certificate; empty: the system's
  int sample_percent = 100;
  std::string service_name = "banyan-gateway";
  bool operator==(const Tracing&) const = default;
};

// When WebSockets, event streams and gRPC streams are ended because their route leads elsewhere.
struct Rehome {
  std::string mode = "spread";  // never
  Millis after{1'000};
  Millis window{10'000};
  int close_code = 1012;  // RFC 6455 7.4: service restart
  Millis settle{500};
  Millis unanswered{5'000};
  bool operator==(const Rehome&) const = default;
};

// One rate of a client over several gateways.
struct SharedLimits {
  std::string redis;  // key in Spec::redis
  std::string key_prefix = "banyan:rate:";
  bool operator==(const SharedLimits&) const = default;
};

// A SecretRef that every process of this machine resolves to the same value, without the spec.
struct SecretPlace {
  std::string kind = "plain";  // env, file, secret
  std::string text;
  std::optional<std::string> secrets_file;
  bool operator==(const SecretPlace&) const = default;
};

// Of the whole gateway. The names are those of the snapshot's JSON.
struct Limits {
  Millis head_ms{10'000};       // to receive a request head
  Millis idle_ms{75'000};       // between requests of a connection
  Millis body_idle_ms{60'000};  // between two reads of a body
  Millis body_grace_ms{10'000};
  Millis connect_ms{2'000};
  Millis response_ms{60'000};      // to the first byte of a response
  Millis stream_idle_ms{300'000};  // event streams and upgraded connections
  Millis hold_wait_ms{30'000};     // one request's own deadline while held
  Millis drain_ms{30'000};         // graceful stop
  Millis retire_ms{3'600'000};     // an upgraded gateway's last connections, such as WebSockets
  std::int64_t head_bytes = 60 * 1024;
  std::int64_t fields = 100;     // of a head
  std::int64_t body_bytes = 0;   // 0: no limit
  std::int64_t body_rate = 500;  // bytes per second, after the grace; 0: no limit
  std::int64_t connections = 20'000;
  std::int64_t client_connections = 0;  // of one client address (IPv6: /64); 0: no limit
  std::int64_t client_requests_per_s = 0;
  std::int64_t client_burst = 0;
  std::optional<SharedLimits> shared;  // of client_requests_per_s and client_burst
  std::int64_t retries = 2;
  bool operator==(const Limits&) const = default;
};

}  // namespace banyan::spec
