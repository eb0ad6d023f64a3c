// Gateway, what it says of itself: status, metrics, and requests as they end or ended.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/metrics_text.h"
#include "planes/gateway/access_search.h"
#include "planes/gateway/gateway.h"

namespace banyan::gateway {
namespace {

using nlohmann::json;

constexpr Duration kPoll = 10ms;
constexpr Duration kTapLinger = 2s;

}  // namespace

void Gateway::report_endpoints(const Worker& worker, Report& report) {
  if (report.endpoints.empty()) {
    for (const auto& backend : worker.backends())
      for (const Endpoint* endpoint : backend)
        report.endpoints.push_back(
            {.backend = endpoint->backend(),
             .zone = endpoint->zone(),
             .gauge = {.backend = endpoint->backend(), .address = endpoint->address()}});
  }
  for (const auto& backend : worker.backends()) {
    for (const Endpoint* endpoint : backend) {
      for (EndpointReport& known : report.endpoints) {
        if (known.backend != endpoint->backend() || known.gauge.address != endpoint->address())
          continue;
        known.gauge.healthy = endpoint->is_usable();
        known.draining = endpoint->load.draining;
        known.gauge.active += endpoint->load.active;
        known.gauge.requests += endpoint->requests;
      }
    }
  }
}

void Gateway::report_backends(Worker& worker, Report& report) {
  const auto backends = worker.current_backends();
  for (std::size_t i = 0; i < backends.size(); ++i) {
    Backend& backend = *backends[i];
    BackendGauge& gauge = report.backends[backend.name()];
    gauge = {.panic = backend.in_panic(worker.loop().now()),
             .inside = backend.places.inside(),
             .waiting = backend.places.waiting(),
             .shed = backend.places.shed(),
             .retries_refused = backend.retries.refused()};
    for (const Endpoint* endpoint : worker.backends()[i]) gauge.ejections += endpoint->ejections();
  }
}

Gateway::Report Gateway::report() {
  std::vector<Report> reports(workers_.size());
  threads_->run_on_all([&](std::size_t i) {
    reports[i].metrics = workers_[i]->metrics();
    reports[i].metrics.rehomed = workers_[i]->rehoming().count();
    reports[i].hold = workers_[i]->hold().stats();
    report_endpoints(*workers_[i], reports[i]);
    report_backends(*workers_[i], reports[i]);
  });
  Report sum = std::move(reports.front());
  for (std::size_t i = 1; i < reports.size(); ++i) {
    sum.metrics.merge(reports[i].metrics);
    sum.hold += reports[i].hold;
    for (const auto& [name, gauge] : reports[i].backends) sum.backends[name] += gauge;
    for (std::size_t e = 0; e < std::min(sum.endpoints.size(), reports[i].endpoints.size()); ++e) {
      sum.endpoints[e].gauge.healthy &= reports[i].endpoints[e].gauge.healthy;
      sum.endpoints[e].gauge.active += reports[i].endpoints[e].gauge.active;
      sum.endpoints[e].gauge.requests += reports[i].endpoints[e].gauge.requests;
    }
  }
  return sum;
}

json Gateway::backends_json(const Report& report) {
  std::map<std::string, json> by_name;
  for (const EndpointReport& endpoint : report.endpoints) {
    json& list = by_name.try_emplace(endpoint.backend, json::array()).first->second;
    list.push_back({{"address", endpoint.gauge.address},
                    {"zone", endpoint.zone},
                    {"healthy", endpoint.gauge.healthy},
                    {"draining", endpoint.draining},
                    {"active", endpoint.gauge.active},
                    {"requests", endpoint.gauge.requests}});
  }
  json out = json::array();
  for (auto& [name, list] : by_name) {
    const auto gauge = report.backends.find(name);
    json one = {{"name", name}, {"endpoints", list}};
    if (gauge != report.backends.end())
      one.update({{"panic", gauge->second.panic},
                  {"waiting", gauge->second.waiting},
                  {"shed", gauge->second.shed}});
    out.push_back(std::move(one));
  }
  return out;
}

json Gateway::snapshot() {
  const Current current = current_.with([](const Current& now) { return now; });
  return current.routing ? current.routing->snapshot.to_json() : json();
}

json Gateway::status() {
  const Current current = current_.with([](const Current& now) { return now; });
  const Report now = report();
  json out = {{"epoch", 0}, {"listen", json::array()}};
  if (current.routing) {
    out["epoch"] = current.routing->snapshot.epoch;
    out["listen"] = current.routing->snapshot.listen;
  }
  out["phase"] = phase_name(now.hold.phase);
  out["hold_epoch"] = now.hold.epoch;
  out["in_flight"] = now.hold.in_flight;
  out["reads"] = now.hold.reads;
  out["writes"] = now.hold.writes;
  out["at"] = rfc3339(clock_.wall());
  out["streams"] = now.hold.streams;
  out["rehomed"] = now.metrics.rehomed;
  out["waiting"] = now.hold.waiting;
  out["waiting_bytes"] = now.hold.bytes;
  out["held"] = now.hold.held;
  out["held_total"] = now.hold.held_total;
  out["refused"] = now.hold.refused;
  out["failed"] = now.hold.failed;
  out["watchdog_opens"] = now.hold.watchdog_opens;
  out["longest_hold_ms"] = to_ms(now.hold.longest);
  out["requests_total"] = now.metrics.requests_total();
  out["failures_total"] = now.metrics.failures_total();
  out["connections"] = now.metrics.connections_open;
  out["backends"] = backends_json(now);
  return out;
}

std::string Gateway::metrics() {
  Report now = report();
  const TraceCounts traces = traces_.counts();
  now.metrics.spans_exported = traces.exported;
  now.metrics.spans_dropped = traces.dropped;
  std::vector<EndpointGauge> gauges;
  for (const EndpointReport& endpoint : now.endpoints) gauges.push_back(endpoint.gauge);
  return prometheus_text(now.metrics, now.hold, gauges, now.backends) + certificate_metrics() +
         shared_limits_metrics();
}

std::string Gateway::shared_limits_metrics() const {
  MetricsText text;
  text.family("banyan_gateway_shared_limits_up", "gauge",
              "1 while rates of clients are shared with other gateways.");
  if (const auto up = shared_rates_.is_up()) text.sample("", *up ? 1 : 0);
  return text.take();
}

std::string Gateway::certificate_metrics() {
  const Current current = current_.with([](const Current& now) { return now; });
  MetricsText text;
  text.family("banyan_gateway_certificates_refused_total", "counter",
              "Certificate files not taken.");
  text.sample("", static_cast<double>(tls_.refused()));
  const auto gauge = [&](std::string_view name, std::string_view help, auto seconds_of) {
    text.family(name, "gauge", help);
    if (!current.routing) return;
    for (const auto& listener : current.routing->listeners) {
      const std::optional<std::int64_t> seconds =
          listener->tls ? seconds_of(*listener->tls) : std::nullopt;
      if (seconds)
        text.sample(MetricsText::label("listener", listener->name), static_cast<double>(*seconds));
    }
  };
  gauge("banyan_gateway_certificate_expires_seconds", "Until the certificate expires.",
        [](const io::TlsServer& server) { return std::optional(server.expires_in_s()); });
  gauge("banyan_gateway_ocsp_expires_seconds",
        "Until the stapled OCSP answer expires; then it is left out.",
        [](const io::TlsServer& server) { return server.staple_expires_in_s(); });
  return text.take();
}

TapLines Gateway::tap(const TapFilter& filter, Duration patience) {
  const Mono deadline = clock_.now() + patience;
  TapLines out;
  while (true) {
    std::vector<TapLines> seen(workers_.size());
    threads_->run_on_all([&](std::size_t i) {
      workers_[i]->tap().watch(filter, clock_.now() + patience + kTapLinger);
      seen[i] = workers_[i]->tap().take();
    });
    for (TapLines& one : seen) {
      std::ranges::move(one.lines, std::back_inserter(out.lines));
      out.dropped += one.dropped;
    }
    if (!out.lines.empty() || clock_.now() >= deadline) return out;
    std::this_thread::sleep_for(kPoll);
  }
}

Result<std::vector<json>> Gateway::find_request(const std::string& id) {
  const auto path = current_.with([](const Current& now) -> std::optional<std::string> {
    return now.routing ? now.routing->snapshot.access_log : std::nullopt;
  });
  if (!path)
    return std::unexpected(Error(Code::kNotFound, "requests are not recorded")
                               .with_remedy("set gateway.access_log in banyan.yaml"));
  threads_->run_on_all([&](std::size_t i) { workers_[i]->flush_access_log(); });
  return find_in_access_log(*path, id);
}

}  // namespace banyan::gateway
