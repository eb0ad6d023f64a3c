#pragma once
// The settings of traffic.h, each declared once: key, help, range, default. `V` reads them from
// YAML, reads them from JSON, or writes them as JSON.

#include <string>
#include <string_view>

#include "spec/cidr.h"
#include "spec/reader.h"
#include "spec/traffic.h"

namespace banyan::spec {

inline constexpr Range kTimeMs{1, 86'400'000};
inline constexpr Range kTimeMsOrNone{0, 86'400'000};
inline constexpr Range kCheckMs{1, 3'600'000};
inline constexpr Range kAny{0, 1'000'000'000};
inline constexpr Range kBytes{0, std::int64_t{1} << 50};

bool is_field_name(std::string_view name);
// Where a message ends and who it goes to is not for edits to say: content-length, host, ...
bool is_framing_field(std::string_view name);
// No control byte but tab: the value can stand in a head.
bool is_field_value(std::string_view value);

template <class V>
void check_fields(V& v, std::string_view key, const std::vector<NameValue>& fields) {
  for (const NameValue& field : fields) {
    v.check(is_field_name(field.name), key, field.name + " is not a header's name",
            "write a name such as x-version");
    v.check(is_field_value(field.value), key, field.name + ": the value has control characters",
            "remove line breaks and the like");
  }
}

template <class V>
void check_sources(V& v, const RouteWhen& when) {
  for (const std::string& source : when.sources) {
    v.check(Cidr::parse(source).has_value(), "source", source + " is not an address range",
            "write, for example, 10.0.0.0/8 or 2001:db8::/32");
  }
}

template <class V>
void describe(V& v, RouteWhen& when) {
  v.pairs({"headers", "Header: value, \"*\" (present) or \"!\" (absent)"}, when.headers);
  v.pairs({"query", "Query parameter: value, \"*\" (present) or \"!\" (absent)"}, when.query);
  v.texts({"source", "Address ranges the client is in, such as 10.0.0.0/8"}, when.sources);
  check_fields(v, "headers", when.headers);
  check_sources(v, when);
}

template <class V>
void describe(V& v, Redirect& redirect) {
  v.integer({"status", "301, 302, 303, 307 or 308"}, {301, 308}, redirect.status);
  v.text({"location",
          "Where to, with ${scheme} ${host} ${path} ${query} ${uri} and ${name} of the path",
          Need::kRequired},
         redirect.location);
  const int status = redirect.status;
  v.check(status <= 303 || status >= 307, "status", "not a redirect",
          "write 301, 302, 303, 307 or 308");
  v.check(is_field_value(redirect.location), "location", "has control characters", "remove them");
}

template <class V>
void describe(V& v, Respond& respond) {
  v.integer({"status", "Status of the answer"}, {200, 599}, respond.status);
  v.text({"body", "The whole body"}, respond.body);
  v.text({"type", "Its Content-Type"}, respond.type);
  v.flag(
      {"grpc_health", "Answer grpc.health.v1.Health/Check: for itself, or for the backend named"},
      respond.grpc_health);
  v.check(is_field_value(respond.type), "type", "has control characters", "remove them");
}

template <class V>
void describe(V& v, Rewrite& rewrite) {
  v.optional_text({"prefix", "Path sent upstream in place of what stands before /* in the match"},
                  rewrite.prefix);
  v.optional_text({"host", "Host header sent upstream"}, rewrite.host);
  const bool path = !rewrite.prefix || rewrite.prefix->starts_with('/');
  v.check(
      path && (!rewrite.prefix || rewrite.prefix->find_first_of("?# \r\n\t") == std::string::npos),
      "prefix", "is not a path", "write a path such as / or /app");
  v.check(!rewrite.host || (!rewrite.host->empty() &&
                            rewrite.host->find_first_of(" /\r\n\t") == std::string::npos),
          "host", "is not a host", "write, for example, app.internal");
}

template <class V>
void describe(V& v, HeaderEdits& edits) {
  v.pairs({"set", "Header: value; replaces what was there"}, edits.set);
  v.pairs({"add", "Header: value; beside what was there"}, edits.add);
  v.texts({"remove", "Headers to remove"}, edits.remove);
  check_fields(v, "set", edits.set);
  check_fields(v, "add", edits.add);
  const auto check_name = [&](std::string_view key, const std::string& name) {
    v.check(!is_framing_field(name), key, name + " is the gateway's own",
            "leave it; a Host is set by rewrite.host");
  };
  for (const NameValue& field : edits.set) check_name("set", field.name);
  for (const NameValue& field : edits.add) check_name("add", field.name);
  for (const std::string& name : edits.remove) check_name("remove", name);
}

template <class V>
void describe(V& v, Headers& headers) {
  v.group({"request", "Edits on the way to the backend"}, headers.request);
  v.group({"response", "Edits on the way to the client"}, headers.response);
}

template <class V>
void describe_key(V& v, std::string& by, std::string& name) {
  v.choice({"by", "What tells clients apart"}, {"client", "cookie", "header", "claim"}, by);
  v.text({"name", "Name of the cookie, header or claim"}, name);
  v.check((by == "client") == name.empty(), "name",
          by == "client" ? "the client's address has no name" : "missing", "name the " + by);
}

template <class V>
void describe(V& v, ClientKey& key) {
  describe_key(v, key.by, key.name);
  v.text({"salt", "Another text chooses other clients: one for each experiment"}, key.salt);
}

template <class V>
void describe(V& v, RateLimit& rate) {
  v.integer({"per_second", "Requests of one client", Need::kRequired}, {1, 1'000'000},
            rate.per_second);
  v.integer({"burst", "How many may come at once (default: per_second)"}, {0, 1'000'000},
            rate.burst);
  describe_key(v, rate.by, rate.name);
}

template <class V>
void describe(V& v, RouteLimits& limits) {
  v.group({"rate", "Rate of one client; more is answered 429"}, limits.rate);
  v.integer({"requests", "Requests inside at once; more is answered 503 (0: no limit)"}, kAny,
            limits.requests);
  v.flag({"adaptive", "Find the number of requests from the response times"}, limits.adaptive);
  v.size({"body_bytes", "Largest request body (0: gateway.limits)"}, kBytes, limits.body_bytes);
}

template <class V>
void describe(V& v, Fallback& fallback) {
  v.optional_text({"to", "Service that answers when this one cannot"}, fallback.to);
  v.group({"respond", "Fixed answer when the service cannot"}, fallback.respond);
  v.check(fallback.to.has_value() != fallback.respond.has_value(), "",
          "needs one of to and respond", "write a service, or a fixed answer");
}

template <class V>
void describe(V& v, Retry& retry) {
  v.words({"on", "connect, reset, timeout and statuses such as 503 (default: connect, reset)"},
          retry.on);
  v.optional_integer({"attempts", "Further tries (default: gateway.limits.retries)"}, {0, 10},
                     retry.attempts);
  v.optional_duration({"per_try_timeout", "Until the answer begins, of one try"}, kTimeMs,
                      retry.per_try_timeout);
  v.optional_duration({"backoff", "Before the first retry; doubles (default: the service's)"},
                      kTimeMsOrNone, retry.backoff);
  v.flag({"unsafe", "Try requests again that may have changed something: they can do it twice"},
         retry.unsafe);
  for (const std::string& text : retry.on)
    v.check(text == "connect" || text == "reset" || text == "timeout" ||
                parse_status_range(text).has_value(),
            "on", text + " is no reason", "write connect, reset, timeout or a status such as 503");
}

template <class V>
void describe(V& v, RouteRules& rules) {
  v.weights({"weights", "Service: share; the first is the stable side"}, rules.weights);
  v.group({"sticky", "Who is sent where by weights: the same client always to the same side"},
          rules.sticky);
  v.group({"redirect", "Answer with a redirect"}, rules.redirect);
  v.group({"respond", "Answer with a fixed response"}, rules.respond);
  v.group({"rewrite", "What the backend sees in place of the route's prefix and host"},
          rules.rewrite);
  v.group({"headers", "Headers to set, add and remove"}, rules.headers);
  v.optional_duration({"timeout", "Until the answer begins, all tries together"}, kTimeMs,
                      rules.timeout);
  v.group({"retry", "When a request is tried again"}, rules.retry);
  v.group({"limits", "Limits of this route"}, rules.limits);
  v.group({"fallback", "Who answers when the service cannot"}, rules.fallback);
  v.choice({"desync", "Requests that two servers may read differently (default: gateway.desync)"},
           {"gateway", "monitor", "defensive", "strictest"}, rules.desync);
  v.choice({"priority", "Who is shed last when a backend is full"}, {"normal", "high", "low"},
           rules.priority);
}

template <class V>
void describe(V& v, Eject& eject) {
  v.integer({"failures", "Connections in a row that failed or died"}, {1, 1000}, eject.failures);
  v.integer({"errors", "5xx answers in a row (0: not looked at)"}, {0, 1000}, eject.errors);
  v.duration({"base", "First time out; doubles each time"}, kTimeMs, eject.base);
  v.duration({"cap", "Longest time out"}, kTimeMs, eject.cap);
  v.integer({"max_percent", "Share of the endpoints that may be out (one of two always may)"},
            {0, 100}, eject.max_percent);
}

template <class V>
void describe(V& v, Circuit& circuit) {
  v.integer({"requests", "Requests at once (0: no limit)"}, kAny, circuit.requests);
  v.integer({"pending", "Requests that may wait for a place"}, kAny, circuit.pending);
  v.duration({"wait", "How long one waits for a place"}, kTimeMs, circuit.wait);
}

template <class V>
void describe(V& v, RetryBudget& budget) {
  v.integer({"percent", "Retries as a share of the requests at hand"}, {0, 100}, budget.percent);
  v.integer({"at_least", "Retries at once that are allowed in any case"}, {0, 100'000},
            budget.at_least);
}

template <class V>
void describe(V& v, Health& health) {
  v.choice({"kind", "http, tcp (a connection is enough), grpc (grpc.health.v1); auto: by protocol"},
           {"auto", "http", "tcp", "grpc"}, health.kind);
  v.text({"path", "Path asked for, of kind http"}, health.path);
  v.optional_text({"host", "Host header sent (default: gateway.public_host)"}, health.host);
  v.words({"expect", "Statuses that are healthy, such as 200 or 200-299 (default: 200-399)"},
          health.expect);
  v.text({"service", "Service asked about, of kind grpc (default: the whole server)"},
         health.service);
  v.duration({"interval", "Time between two checks"}, kCheckMs, health.interval);
  v.duration({"timeout", "Time an answer may take"}, kCheckMs, health.timeout);
  v.integer({"jitter_percent", "By how much of the interval checks are spread"}, {0, 100},
            health.jitter_percent);
  v.integer({"rise", "Good answers in a row until healthy"}, {1, 100}, health.rise);
  v.integer({"fall", "Bad answers in a row until unhealthy"}, {1, 100}, health.fall);
  v.check(health.path.starts_with('/') && is_field_value(health.path) &&
              health.path.find(' ') == std::string::npos,
          "path", "a path starts with /", "write, for example, /healthz");
  v.check(health.service.size() < 128, "service", "is longer than a name of a service",
          "shorten it");
  for (const std::string& text : health.expect)
    v.check(parse_status_range(text).has_value(), "expect", text + " is no status",
            "write, for example, 200 or 200-299");
}

template <class V>
void describe(V& v, UpstreamTls& tls) {
  v.text({"ca", "PEM file of who signs its certificate (default: the system's)"}, tls.ca);
  v.text({"server_name", "Name in its certificate (default: the endpoint's host)"},
         tls.server_name);
  v.choice({"verify", "Its certificate: authority and name, authority alone, or nothing"},
           {"full", "ca", "none"}, tls.verify);
  v.text({"certificate", "PEM file of the gateway's own certificate, if it is asked for one"},
         tls.certificate);
  v.text({"key", "PEM file of that certificate's key"}, tls.key);
  v.check(tls.certificate.empty() == tls.key.empty(), "key",
          "a certificate and its key come together", "name both files, or neither");
  v.check(tls.verify != "none" || tls.ca.empty(), "ca", "is of no use where nothing is verified",
          "remove it, or remove verify: none");
}

template <class V>
void describe(V& v, Traffic& traffic) {
  v.choice(
      {"protocol", "HTTP/1.1; HTTP/2 with TLS (h2), without (h2c); gRPC, with TLS where tls is"},
      {"http1", "h2", "h2c", "grpc"}, traffic.protocol);
  v.group({"tls", "TLS towards its copies"}, traffic.tls);
  v.check(!(traffic.protocol == "h2c" && traffic.tls), "tls", "h2c is without TLS",
          "write protocol: h2, or remove tls");
  v.choice({"balance", "How an endpoint is chosen"}, {"least_request", "peak_ewma", "hash"},
           traffic.balance);
  v.group({"hash", "What is hashed, of balance: hash"}, traffic.hash);
  v.integer({"hash_bound_percent", "Most load of one endpoint, of the mean"}, {100, 1000},
            traffic.hash_bound_percent);
  v.duration({"slow_start", "A new endpoint gets its full share after this time"}, kTimeMsOrNone,
             traffic.slow_start);
  v.integer({"panic_percent", "With fewer healthy endpoints health is ignored (0: never)"},
            {0, 100}, traffic.panic_percent);
  v.group({"eject", "When an endpoint is passed over because of how it answers"}, traffic.eject);
  v.group({"limits", "What the backend takes at once"}, traffic.limits);
  v.group({"retry_budget", "How many retries there may be"}, traffic.retry_budget);
  v.duration({"backoff", "Before the first retry; doubles, with jitter"}, kTimeMsOrNone,
             traffic.backoff);
}

template <class V>
void describe(V& v, Tracing& tracing) {
  v.text({"otlp", "OpenTelemetry collector that takes OTLP/HTTP, such as http://localhost:4318",
          Need::kRequired},
         tracing.otlp);
  v.integer({"sample_percent", "Share of the traces that begin here which is recorded"}, {0, 100},
            tracing.sample_percent);
  v.text({"service_name", "Name of this service in the traces"}, tracing.service_name);
  v.text({"ca", "PEM file of who signs the collector's certificate (default: the system's)"},
         tracing.ca);
  const std::string& to = tracing.otlp;
  const bool has_tls = to.starts_with("https://");
  const std::size_t host = has_tls ? 8 : 7;
  v.check((has_tls || to.starts_with("http://")) && to.size() > host &&
              to.find_first_of("/@?# ", host) == std::string::npos,
          "otlp", "is no http://host:port", "name a collector without path and password");
  v.check(has_tls || tracing.ca.empty(), "ca", "is of no use without TLS",
          "write otlp: https://, or remove ca");
}

template <class V>
void describe(V& v, Rehome& rehome) {
  v.choice({"mode", "Whether they are ended, so that their clients connect to the new side"},
           {"spread", "never"}, rehome.mode);
  v.duration({"after", "After the change, before the first one is ended"}, kTimeMsOrNone,
             rehome.after);
  v.duration({"window", "Over which their ends are spread by chance"}, kTimeMsOrNone,
             rehome.window);
  v.integer({"close_code", "Code of a WebSocket's Close"}, {1000, 4999}, rehome.close_code);
  v.duration({"settle", "How long a hold lets gRPC streams end, then what they said last be done"},
             kTimeMsOrNone, rehome.settle);
  v.duration({"unanswered", "After which a gRPC call without an answer counts as a stream"},
             kTimeMsOrNone, rehome.unanswered);
  const int code = rehome.close_code;
  v.check(code <= 1001 || code == 1012 || code == 1013 || code >= 3000, "close_code",
          "is no code a client takes as a reason to connect again",
          "write 1012 (service restart), 1001 (going away), or one of your own from 3000 on");
}

template <class V>
void describe(V& v, SharedLimits& shared) {
  v.text(
      {"redis", "Entry of redis where they are counted: one server, no cluster", Need::kRequired},
      shared.redis);
  v.text({"key_prefix", "Put before every key; gateways with another one count apart"},
         shared.key_prefix);
  v.check(!shared.key_prefix.empty(), "key_prefix", "is empty",
          "leave it out, or write what no other key of this Redis begins with");
}

template <class V>
void describe(V& v, SecretPlace& place) {
  v.choice({"kind", ""}, {"plain", "env", "file", "secret"}, place.kind);
  v.text({"text", "", Need::kRequired}, place.text);
  v.optional_text({"secrets_file", ""}, place.secrets_file);
}

template <class V>
void describe_times(V& v, Limits& limits) {
  v.duration({"head_ms", "To receive a request's head"}, kTimeMs, limits.head_ms);
  v.duration({"idle_ms", "Between two requests of a connection"}, kTimeMs, limits.idle_ms);
  v.duration({"body_idle_ms", "Between two pieces of a body, and for a client to take one"},
             kTimeMs, limits.body_idle_ms);
  v.duration({"body_grace_ms", "Before body_rate counts"}, kTimeMs, limits.body_grace_ms);
  v.duration({"connect_ms", "To connect to an endpoint"}, kTimeMs, limits.connect_ms);
  v.duration({"response_ms", "Until an answer begins"}, kTimeMs, limits.response_ms);
  v.duration({"stream_idle_ms", "Silence on event streams, WebSockets and gRPC streams"}, kTimeMs,
             limits.stream_idle_ms);
  v.duration({"hold_wait_ms", "Longest wait of a held request"}, kTimeMs, limits.hold_wait_ms);
  v.duration({"drain_ms", "To end requests when the gateway stops"}, kTimeMs, limits.drain_ms);
  v.duration({"retire_ms", "For the last connections after an upgrade of the program"}, kTimeMs,
             limits.retire_ms);
}

template <class V>
void describe(V& v, Limits& limits) {
  describe_times(v, limits);
  v.size({"head_bytes", "Largest request head"}, {1024, 60 * 1024}, limits.head_bytes);
  v.count({"fields", "Most headers of a request"}, {1, 100}, limits.fields);
  v.size({"body_bytes", "Largest request body (0: no limit)"}, kBytes, limits.body_bytes);
  v.size({"body_rate", "Slowest request body, bytes a second (0: no limit)"}, kBytes,
         limits.body_rate);
  v.count({"connections", "Client connections"}, {1, 10'000'000}, limits.connections);
  v.count({"client_connections", "Connections of one address, or IPv6 /64 (0: no limit)"}, kAny,
          limits.client_connections);
  v.count({"client_requests_per_s", "Rate of one address, or IPv6 /64 (0: no limit)"}, kAny,
          limits.client_requests_per_s);
  v.count({"client_burst", "Requests at once within that rate (0: the rate)"}, kAny,
          limits.client_burst);
  v.group({"shared", "One rate of a client over all gateways, counted in Redis"}, limits.shared);
  v.check(!limits.shared || limits.client_requests_per_s > 0, "shared", "there is no rate to share",
          "set client_requests_per_s, or leave shared out");
  v.count({"retries", "Further tries where that cannot do anything twice"}, {0, 10},
          limits.retries);
}

}  // namespace banyan::spec
