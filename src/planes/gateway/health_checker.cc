#include "planes/gateway/health_checker.h"

#include <fmt/format.h>

#include "base/log.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

void HealthChecker::adopt(const Routing& routing) {
  std::map<Key, Check*> former = std::exchange(checks_, {});
  for (const BackendPlan& backend : routing.backends) {
    if (!backend.health) continue;
    for (const EndpointPlan& endpoint : backend.endpoints) keep_or_start(backend, endpoint, former);
  }
  for (auto& [key, check] : former) end(*check);
}

void HealthChecker::keep_or_start(const BackendPlan& backend, const EndpointPlan& endpoint,
                                  std::map<Key, Check*>& former) {
  const Key key(backend.name, endpoint.address);
  const std::string& host = backend.health_host.empty() ? endpoint.address : backend.health_host;
  const auto known = former.find(key);
  if (known != former.end() && known->second->rule == *backend.health &&
      known->second->host == host) {
    checks_[key] = known->second;
    former.erase(known);
    return;
  }
  auto check = std::make_unique<Check>(loop_, backend.name, endpoint, *backend.health);
  check->host = host;
  if (known != former.end()) check->healthy = known->second->healthy;
  checks_[key] = check.get();
  run(std::move(check));
}

void HealthChecker::assume_unhealthy(const std::string& backend, const std::string& address) {
  if (const auto known = checks_.find({backend, address}); known != checks_.end())
    known->second->healthy = false;
}

void HealthChecker::end(Check& check) {
  check.stop.set();
  if (check.socket != nullptr) check.socket->cancel();
}

void HealthChecker::stop() {
  for (auto& [key, check] : std::exchange(checks_, {})) end(*check);
}

io::Detached HealthChecker::run(std::unique_ptr<Check> check) {
  ++running_;
  while (!check->stop.is_set()) {
    const bool success = co_await probe(*check);
    if (check->stop.is_set()) break;
    note(*check, success);
    (void)co_await check->stop.wait(loop_.now() + jittered(check->rule.interval));
  }
  --running_;
}

// Checks that began together do not stay together.
Duration HealthChecker::jittered(Duration interval) {
  const auto spread = static_cast<std::uint64_t>(std::max<Duration::rep>(1, interval.count() / 5));
  return interval * 9 / 10 + Duration(static_cast<Duration::rep>(ids_.next() % spread));
}

void HealthChecker::note(Check& check, bool success) {
  check.streak = success == check.healthy ? 0 : check.streak + 1;
  if (check.streak < (check.healthy ? check.rule.fall : check.rule.rise)) return;
  if (check.streak == 0) return;
  check.streak = 0;
  check.healthy = success;
  log_info(success ? "endpoint became healthy" : "endpoint became unhealthy",
           {{"backend", check.backend}, {"address", check.endpoint.address}});
  on_change_(check.backend, check.endpoint.address, success);
}

io::Task<bool> HealthChecker::probe(Check& check) {
  io::Socket socket(loop_);
  check.socket = &socket;
  const Mono deadline = loop_.now() + check.rule.timeout;
  Result<void> connected = co_await socket.connect(check.endpoint.resolved, deadline);
  const std::shared_ptr<const io::TlsClient> tls = check.endpoint.tls;
  if (connected && tls) connected = co_await socket.start_tls(*tls, deadline);
  const bool success = connected && co_await ask(check, socket, deadline);
  check.socket = nullptr;
  co_return success;
}

io::Task<bool> HealthChecker::ask(Check& check, io::Socket& socket, Mono deadline) {
  const std::string request = fmt::format(
      "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: banyan-health\r\nconnection: close\r\n\r\n",
      check.rule.path, check.host);
  const io::IoResult sent = co_await socket.send(request, deadline);
  if (!sent.ok()) co_return false;
  std::string answer;
  auto head = std::make_unique<http::Head>();
  while (true) {
    const io::IoResult got = co_await socket.recv(loop_.scratch(), deadline);
    if (!got.ok()) co_return false;
    answer.append(loop_.scratch().data(), got.bytes);
    const http::Parsed parsed = http::parse_response(answer, http::Answers::kOther, *head);
    if (parsed.outcome == http::Outcome::kRefused) co_return false;
    if (parsed.outcome == http::Outcome::kComplete)
      co_return head->status >= 200 && head->status < 400;
  }
}

}  // namespace banyan::gateway
