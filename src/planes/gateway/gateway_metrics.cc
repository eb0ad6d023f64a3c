#include "planes/gateway/gateway_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/metrics_text.h"

namespace banyan::gateway {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)

constexpr Duration kBounds[] = {1ms,   2500us, 5ms, 10ms,   25ms, 50ms, 100ms,
                                250ms, 500ms,  1s,  2500ms, 5s,   10s,  30s};

using Text = MetricsText;

void put_histogram(Text& text, const std::string& labels, const DurationHistogram& histogram) {
  const std::string separator = labels.empty() ? "" : ",";
  for (Duration bound : kBounds) {
    const double seconds = std::chrono::duration<double>(bound).count();
    text.sample_as("_bucket", fmt::format("{}{}le=\"{}\"", labels, separator, seconds),
                   static_cast<double>(histogram.count_up_to(bound)));
  }
  text.sample_as("_bucket", fmt::format("{}{}le=\"+Inf\"", labels, separator),
                 static_cast<double>(histogram.count()));
  text.sample_as("_sum", labels, histogram.sum_seconds());
  text.sample_as("_count", labels, static_cast<double>(histogram.count()));
}

void put_routes(Text& text, const GatewayMetrics& metrics) {
  text.family("banyan_gateway_requests_total", "counter", "Requests answered, by route and class.");
  for (const auto& [id, route] : metrics.routes) {
    for (std::size_t i = 0; i < route.by_class.size(); ++i) {
      if (route.by_class[i] == 0) continue;
      const std::string code = i == 0 ? "none" : fmt::format("{}xx", i);
      text.sample(Text::label("route", id) + "," + Text::label("code", code),
                  static_cast<double>(route.by_class[i]));
    }
  }
  text.family("banyan_gateway_request_seconds", "histogram", "From head received to reply sent.");
  for (const auto& [id, route] : metrics.routes)
    put_histogram(text, Text::label("route", id), route.took);
  text.family("banyan_gateway_route_series_max", "gauge", "More routes are counted as (other).");
  text.sample("", static_cast<double>(GatewayMetrics::kRoutesMax));
  text.family("banyan_gateway_bytes_total", "counter", "Body bytes from and to clients.");
  for (const auto& [id, route] : metrics.routes) {
    text.sample(Text::label("route", id) + ",direction=\"in\"",
                static_cast<double>(route.bytes_in));
    text.sample(Text::label("route", id) + ",direction=\"out\"",
                static_cast<double>(route.bytes_out));
  }
}

void put_gateway(Text& text, const GatewayMetrics& metrics) {
  text.family("banyan_gateway_own_replies_total", "counter", "Replies made by the gateway itself.");
  for (const auto& [status, n] : metrics.own_replies) {
    text.sample(fmt::format("code=\"{}\"", status), static_cast<double>(n));
  }
  text.family("banyan_gateway_malformed_total", "counter", "Messages refused by the parser.");
  for (const auto& [reason, n] : metrics.refused) {
    text.sample(Text::label("reason", reason), static_cast<double>(n));
  }
  text.family("banyan_gateway_desync_total", "counter", "Requests by class of docs/desync.md.");
  for (std::size_t i = 0; i < metrics.desync.size(); ++i)
    text.sample(Text::label("class", http::name_of(static_cast<http::Desync>(i))),
                static_cast<double>(metrics.desync[i]));
  const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    text.family(name, "counter", help);
    text.sample("", static_cast<double>(value));
  };
  counter("banyan_gateway_connections_total", "Connections accepted.",
          metrics.connections_accepted);
  counter("banyan_gateway_upstream_connects_total", "Connections made.", metrics.upstream_connects);
  counter("banyan_gateway_upstream_connect_failures_total", "Connections that failed.",
          metrics.upstream_connect_failures);
  counter("banyan_gateway_upstream_reuses_total", "Requests on a kept connection.",
          metrics.upstream_reuses);
  counter("banyan_gateway_retries_total", "Requests sent again elsewhere.", metrics.retries);
  counter("banyan_gateway_fallbacks_total", "Requests sent to a route's fallback service.",
          metrics.fallbacks);
  counter("banyan_gateway_spans_exported_total", "Spans that the collector took.",
          metrics.spans_exported);
  counter("banyan_gateway_spans_dropped_total", "Spans lost: queue full, or collector not there.",
          metrics.spans_dropped);
  counter("banyan_gateway_rehomed_total",
          "Streams ended so that their clients connect to where the route leads now.",
          metrics.rehomed);
  text.family("banyan_gateway_connections", "gauge", "Connections now open.");
  text.sample("", static_cast<double>(metrics.connections_open));
  text.family("banyan_gateway_upstream_connect_seconds", "histogram", "Time to connect.");
  put_histogram(text, "", metrics.upstream_connect);
}

void put_hold(Text& text, const GatewayMetrics& metrics, const HoldStats& hold) {
  const auto gauge = [&](std::string_view name, std::string_view help, std::int64_t value) {
    text.family(name, "gauge", help);
    text.sample("", static_cast<double>(value));
  };
  gauge("banyan_gateway_hold_phase", "0 open, 1 revocable, 2 committed.",
        static_cast<std::int64_t>(hold.phase));
  gauge("banyan_gateway_in_flight", "Requests now inside held routes, or all.", hold.in_flight);
  gauge("banyan_gateway_streams", "Upgraded or endless exchanges now open.", hold.streams);
  gauge("banyan_gateway_hold_waiting", "Requests now waiting.", hold.waiting);
  text.family("banyan_gateway_held_total", "counter", "Requests that were made to wait.");
  text.sample("", static_cast<double>(hold.held_total));
  text.family("banyan_gateway_hold_watchdog_total", "counter", "Holds that opened by themselves.");
  text.sample("", static_cast<double>(hold.watchdog_opens));
  text.family("banyan_gateway_hold_seconds", "histogram", "How long held requests waited.");
  put_histogram(text, "", metrics.held);
}

void put_endpoints(Text& text, const std::vector<EndpointGauge>& endpoints) {
  const auto label = [](const EndpointGauge& endpoint) {
    return Text::label("backend", endpoint.backend) + "," +
           Text::label("address", endpoint.address);
  };
  text.family("banyan_gateway_endpoint_healthy", "gauge", "1 when the endpoint gets requests.");
  for (const auto& endpoint : endpoints) text.sample(label(endpoint), endpoint.healthy ? 1 : 0);
  text.family("banyan_gateway_endpoint_active", "gauge", "Requests now at the endpoint.");
  for (const auto& endpoint : endpoints) {
    text.sample(label(endpoint), static_cast<double>(endpoint.active));
  }
  text.family("banyan_gateway_endpoint_requests_total", "counter", "Requests sent to it.");
  for (const auto& endpoint : endpoints) {
    text.sample(label(endpoint), static_cast<double>(endpoint.requests));
  }
}

void put_backends(Text& text, const BackendGauges& backends) {
  const auto family = [&](std::string_view name, std::string_view kind, std::string_view help,
                          auto value) {
    text.family(name, kind, help);
    for (const auto& [backend, gauge] : backends)
      text.sample(Text::label("backend", backend), static_cast<double>(value(gauge)));
  };
  family("banyan_gateway_backend_panic", "gauge", "1 while health is not believed.",
         [](const BackendGauge& gauge) { return gauge.panic ? 1 : 0; });
  family("banyan_gateway_backend_inside", "gauge", "Requests that have a place.",
         [](const BackendGauge& gauge) { return gauge.inside; });
  family("banyan_gateway_backend_waiting", "gauge", "Requests that wait for a place.",
         [](const BackendGauge& gauge) { return gauge.waiting; });
  family("banyan_gateway_backend_shed_total", "counter", "Requests sent away: no place.",
         [](const BackendGauge& gauge) { return gauge.shed; });
  family("banyan_gateway_backend_retries_refused_total", "counter", "Retries over the budget.",
         [](const BackendGauge& gauge) { return gauge.retries_refused; });
  family("banyan_gateway_backend_ejections_total", "counter", "Endpoints passed over, per worker.",
         [](const BackendGauge& gauge) { return gauge.ejections; });
}

}  // namespace

std::size_t DurationHistogram::bucket_of(std::uint64_t us) {
  constexpr std::uint64_t kSteps = 1U << kStepsLog2;
  if (us < kSteps) return static_cast<std::size_t>(us);
  const auto shift = static_cast<unsigned>(std::bit_width(us)) - kStepsLog2 - 1;
  const std::size_t bucket = ((shift + 1) << kStepsLog2) + ((us >> shift) & (kSteps - 1));
  return std::min(bucket, kBuckets - 1);
}

std::uint64_t DurationHistogram::upper_us(std::size_t bucket) {
  constexpr std::uint64_t kSteps = 1U << kStepsLog2;
  if (bucket < kSteps) return bucket;
  const std::size_t shift = (bucket >> kStepsLog2) - 1;
  return ((kSteps + (bucket & (kSteps - 1)) + 1) << shift) - 1;
}

void DurationHistogram::record(Duration duration) {
  const auto us = duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) / 1000 : 0;
  ++buckets_[bucket_of(us)];
  ++count_;
  sum_us_ += us;
}

void DurationHistogram::merge(const DurationHistogram& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_us_ += other.sum_us_;
}

std::uint64_t DurationHistogram::count_up_to(Duration bound) const {
  const auto us = static_cast<std::uint64_t>(bound.count()) / 1000;
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < kBuckets && upper_us(i) <= us; ++i) n += buckets_[i];
  return n;
}

Duration DurationHistogram::quantile(double quantile) const {
  const auto rank = static_cast<std::uint64_t>(std::ceil(quantile * static_cast<double>(count_)));
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    n += buckets_[i];
    if (n >= rank && n > 0) return std::chrono::microseconds(upper_us(i));
  }
  return {};
}

void RouteMetrics::merge(const RouteMetrics& other) {
  for (std::size_t i = 0; i < by_class.size(); ++i) by_class[i] += other.by_class[i];
  bytes_in += other.bytes_in;
  bytes_out += other.bytes_out;
  took.merge(other.took);
}

RouteMetrics& GatewayMetrics::of_route(std::string_view id) {
  const auto found = routes.find(id);
  if (found != routes.end()) return found->second;
  return routes[std::string(routes.size() < kRoutesMax ? id : kOtherRoutes)];
}

RouteMetrics& GatewayMetrics::count_request(std::string_view route, int status, Duration took) {
  RouteMetrics& out = of_route(route);
  const int status_class = status >= 100 && status <= 599 ? status / 100 : 0;
  ++out.by_class[static_cast<std::size_t>(status_class)];
  out.took.record(took);
  return out;
}

void GatewayMetrics::count_refused(std::string_view reason) {
  const auto found = refused.find(reason);
  if (found != refused.end())
    ++found->second;
  else
    refused.emplace(std::string(reason), 1);
}

std::uint64_t GatewayMetrics::requests_total() const {
  std::uint64_t n = 0;
  for (const auto& [id, route] : routes) n += route.took.count();
  return n;
}

std::uint64_t GatewayMetrics::failures_total() const {
  std::uint64_t n = 0;
  for (const auto& [status, count] : own_replies) n += status >= 500 ? count : 0;
  return n;
}

void GatewayMetrics::merge(const GatewayMetrics& other) {
  for (const auto& [id, route] : other.routes) of_route(id).merge(route);
  for (const auto& [status, n] : other.own_replies) own_replies[status] += n;
  for (const auto& [reason, n] : other.refused) refused[reason] += n;
  for (std::size_t i = 0; i < desync.size(); ++i) desync[i] += other.desync[i];
  connections_accepted += other.connections_accepted;
  connections_open += other.connections_open;
  upstream_connects += other.upstream_connects;
  upstream_connect_failures += other.upstream_connect_failures;
  upstream_reuses += other.upstream_reuses;
  retries += other.retries;
  rehomed += other.rehomed;
  fallbacks += other.fallbacks;
  held.merge(other.held);
  upstream_connect.merge(other.upstream_connect);
}

BackendGauge& BackendGauge::operator+=(const BackendGauge& other) {
  panic |= other.panic;
  inside += other.inside;
  waiting += other.waiting;
  shed += other.shed;
  retries_refused += other.retries_refused;
  ejections += other.ejections;
  return *this;
}

std::string prometheus_text(const GatewayMetrics& metrics, const HoldStats& hold,
                            const std::vector<EndpointGauge>& endpoints,
                            const BackendGauges& backends) {
  Text text;
  put_routes(text, metrics);
  put_gateway(text, metrics);
  put_hold(text, metrics, hold);
  put_endpoints(text, endpoints);
  put_backends(text, backends);
  return text.take();
}

}  // namespace banyan::gateway
