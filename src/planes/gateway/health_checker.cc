#include "planes/gateway/health_checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "planes/gateway/grpc_health.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {
namespace {

constexpr Duration kConnectMost = 5s;  // however patient the rule: a checker must be able to end
constexpr Duration kLinkLook = 5ms;
constexpr std::size_t kAnswerMost = 4096;  // of a gRPC answer

bool expects(const std::vector<spec::StatusRange>& ranges, int status) {
  return std::ranges::any_of(ranges, [&](const auto& range) { return range.contains(status); });
}

std::string page_request(const std::string& path, const std::string& host) {
  return fmt::format(
      "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: banyan-health\r\nconnection: close\r\n\r\n", path,
      host);
}

std::string grpc_request(const std::string& host, std::size_t bytes) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: banyan-health\r\n"
      "content-type: application/grpc\r\ncontent-length: {}\r\n\r\n",
      kHealthCheckPath, host, bytes);
}

io::Task<bool> says_serving(Upstream& upstream, Mono deadline) {
  std::string answer(upstream.take_received());
  while (!upstream.incoming().done && answer.size() < kAnswerMost) {
    const BodyPiece got = co_await upstream.read_body(kAnswerMost, deadline);
    if (!got.ok()) co_return false;
    answer += got.bytes;
  }
  co_return told_status(answer) ==
      Serving::kServing&& upstream.trailers().find("grpc-status: 0\r\n") != std::string_view::npos;
}

}  // namespace

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
    known->second->target.adopt(endpoint);
    checks_[key] = known->second;
    former.erase(known);
    return;
  }
  auto check = std::make_unique<Check>(loop_, backend.name, endpoint, *backend.health);
  check->host = host;
  for (const std::string& text : check->rule.expect)
    if (const auto range = spec::parse_status_range(text)) check->expected.push_back(*range);
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
  if (check.asked != nullptr) check.asked->cancel();
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
    (void)co_await check->stop.wait(loop_.now() + pause_after(check->rule));
  }
  check->target.close_links();
  io::Event never(loop_);
  while (check->target.links() > 0) (void)co_await never.wait(loop_.now() + kLinkLook);
  --running_;
}

// Checks that began together do not stay together.
Duration HealthChecker::pause_after(const spec::Health& rule) {
  const Duration spread = Duration(rule.interval) * rule.jitter_percent / 100;
  const auto some = ids_.next() % static_cast<std::uint64_t>(spread.count() + 1);
  return rule.interval - spread / 2 + Duration(static_cast<Duration::rep>(some));
}

void HealthChecker::note(Check& check, bool success) {
  check.streak = success == check.healthy ? 0 : check.streak + 1;
  if (check.streak < (check.healthy ? check.rule.fall : check.rule.rise)) return;
  if (check.streak == 0) return;
  check.streak = 0;
  check.healthy = success;
  log_info(success ? "endpoint became healthy" : "endpoint became unhealthy",
           {{"backend", check.target.backend()}, {"address", check.target.address()}});
  on_change_(check.target.backend(), check.target.address(), success);
}

io::Task<bool> HealthChecker::probe(Check& check) {
  const Mono now = loop_.now();
  const Mono deadline = now + check.rule.timeout;
  Result<std::unique_ptr<Upstream>> connected =
      co_await check.target.connect(std::min(deadline, now + kConnectMost));
  if (!connected) co_return false;
  std::unique_ptr<Upstream> upstream = *std::move(connected);
  check.asked = upstream.get();
  const bool asks = check.rule.kind != "tcp" && !check.stop.is_set();
  const bool success = !asks || co_await ask(check, *upstream, deadline);
  check.asked = nullptr;
  upstream.reset();
  check.target.close_idle(io::kNever);
  co_return success;
}

io::Task<bool> HealthChecker::ask(const Check& check, Upstream& upstream, Mono deadline) {
  const bool is_grpc = check.rule.kind == "grpc";
  const std::string body = is_grpc ? health_request(check.rule.service) : std::string();
  const std::string head =
      is_grpc ? grpc_request(check.host, body.size()) : page_request(check.rule.path, check.host);
  const OutgoingRequest request{.head = head,
                                .framing = is_grpc ? http::Framing::kLength : http::Framing::kNone};
  const BodyPart whole{.bytes = body, .last = true};
  const io::IoResult sent = co_await upstream.send_request(request, whole, deadline);
  if (!sent.ok()) co_return false;
  const auto answer = std::make_unique<http::Head>();
  do {
    const Upstream::HeadEnd end = co_await upstream.receive_head(*answer, deadline);
    if (end != Upstream::HeadEnd::kComplete) co_return false;
  } while (answer->status / 100 == 1 && answer->status != 101);
  if (!is_grpc) co_return expects(check.expected, answer->status);
  const bool is_ok = answer->status == 200;
  co_return is_ok&& co_await says_serving(upstream, deadline);
}

}  // namespace banyan::gateway
