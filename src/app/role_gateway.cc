// The gateway role: the verbs of its socket, in front of gateway::Gateway.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>

#include "app/gateway_lineage.h"
#include "app/roles.h"
#include "base/log.h"
#include "planes/gateway/gateway.h"
#include "planes/gateway/succession.h"
#include "wire/rpc/server.h"

namespace banyan {
namespace {

using gateway::Gateway;
using nlohmann::json;

std::chrono::milliseconds ms_of(const json& in, const char* key, std::chrono::milliseconds preset) {
  return std::chrono::milliseconds(in.value(key, static_cast<std::int64_t>(preset.count())));
}

gateway::HoldRequest hold_request(const json& in) {
  gateway::HoldRequest request;
  request.epoch = in.at("epoch").get<std::uint64_t>();
  request.routes = in.value("routes", std::vector<std::string>{"*"});
  request.hosts = in.value("hosts", std::vector<std::string>{});
  request.methods = in.value("methods", "all") == "writes" ? gateway::MethodClass::kWrites
                                                           : gateway::MethodClass::kAll;
  request.resume = std::max(1.01, in.value("resume", request.resume));
  request.bounds.max_requests = in.value("max_requests", request.bounds.max_requests);
  request.bounds.max_bytes = in.value("max_bytes", request.bounds.max_bytes);
  request.bounds.max_body_bytes = in.value("max_body_bytes", request.bounds.max_body_bytes);
  request.bounds.max_per_client = in.value("max_per_client", request.bounds.max_per_client);
  request.bounds.max_hold = ms_of(in, "max_ms", 30s);
  return request;
}

gateway::EndpointName endpoint_name(const json& in) {
  return {.backend = in.at("backend").get<std::string>(),
          .address = in.at("address").get<std::string>()};
}

// The gateway of this process and, unless it has itself retired, those it took over from.
class GatewayVerbs {
 public:
  GatewayVerbs(Gateway& gateway, const std::string& socket) : gateway_(gateway), lineage_(socket) {}
  void add_to(rpc::Server& server);

 private:
  // The order to the predecessors, after it was done here.
  Result<std::vector<json>> pass_on(const std::string& verb, const json& in) const {
    if (gateway_.is_retired()) return std::vector<json>{};
    return lineage_.tell(verb, in);
  }
  Result<json> status() const;
  Result<json> put_snapshot(const json& in);
  Result<json> close_hold(const json& in);
  Result<json> commit_hold(const json& in);
  Result<json> open_hold(const json& in);
  Result<json> drain_endpoint(const json& in);
  Result<json> undrain_endpoint(const json& in);
  Result<json> tap(const json& in);

  Gateway& gateway_;
  Lineage lineage_;
};

Result<json> GatewayVerbs::status() const {
  json own = gateway_.status();
  own["pid"] = ::getpid();
  if (gateway_.is_retired()) return own;
  return lineage_.status(std::move(own));
}

Result<json> GatewayVerbs::put_snapshot(const json& in) {
  TRY(auto snapshot, gateway::RouteSnapshot::from_json(in.at("snapshot")));
  TRY(const std::uint64_t epoch, gateway_.put_snapshot(std::move(snapshot)));
  TRY_VOID(pass_on("snapshot.put", in));
  return json{{"epoch", epoch}};
}

Result<json> GatewayVerbs::close_hold(const json& in) {
  TRY_VOID(gateway_.close_hold(hold_request(in)));
  TRY_VOID(pass_on("hold.close", in));
  return status();
}

Result<json> GatewayVerbs::commit_hold(const json& in) {
  TRY_VOID(gateway_.commit_hold(in.at("epoch").get<std::uint64_t>()));
  TRY_VOID(pass_on("hold.commit", in));
  return status();
}

Result<json> GatewayVerbs::open_hold(const json& in) {
  TRY(const gateway::HoldStats stats,
      gateway_.open_hold(in.at("epoch").get<std::uint64_t>(), in.value("pace_per_s", 0.0)));
  json out = {{"held", stats.held},
              {"longest_hold_ms", to_ms(stats.longest)},
              {"refused", stats.refused},
              {"failed", stats.failed}};
  TRY(const auto others, pass_on("hold.open", in));
  for (const json& other : others) {
    for (const char* key : {"held", "refused", "failed"})
      out[key] = out.value(key, 0L) + other.value(key, 0L);
    out["longest_hold_ms"] =
        std::max(out.value("longest_hold_ms", 0L), other.value("longest_hold_ms", 0L));
  }
  return out;
}

Result<json> GatewayVerbs::drain_endpoint(const json& in) {
  TRY(std::int64_t active,
      gateway_.drain_endpoint(endpoint_name(in), ms_of(in, "timeout_ms", 10s)));
  TRY(const auto others, pass_on("endpoint.drain", in));
  for (const json& other : others) active += other.value("active", std::int64_t{0});
  return json{{"drained", active == 0}, {"active", active}};
}

Result<json> GatewayVerbs::undrain_endpoint(const json& in) {
  TRY_VOID(gateway_.undrain_endpoint(endpoint_name(in)));
  TRY_VOID(pass_on("endpoint.undrain", in));
  return json::object();
}

Result<json> GatewayVerbs::tap(const json& in) {
  const gateway::TapFilter filter{.route = in.value("route", ""), .status = in.value("status", 0)};
  gateway::TapLines seen = gateway_.tap(filter, ms_of(in, "wait_ms", 1s));
  return json{{"lines", std::move(seen.lines)}, {"dropped", seen.dropped}};
}

void GatewayVerbs::add_to(rpc::Server& server) {
  server.on("snapshot.put", [this](const json& in) { return put_snapshot(in); });
  server.on("snapshot.get", [this](const json&) -> Result<json> {
    return json{{"snapshot", gateway_.snapshot()}};
  });
  server.on("status", [this](const json&) { return status(); });
  server.on("hold.close", [this](const json& in) { return close_hold(in); });
  server.on("hold.commit", [this](const json& in) { return commit_hold(in); });
  server.on("hold.open", [this](const json& in) { return open_hold(in); });
  server.on("endpoint.drain", [this](const json& in) { return drain_endpoint(in); });
  server.on("endpoint.undrain", [this](const json& in) { return undrain_endpoint(in); });
  server.on("tap", [this](const json& in) { return tap(in); });
  server.on("request.find", [this](const json& in) -> Result<json> {
    TRY(auto found, gateway_.find_request(in.at("id").get<std::string>()));
    return json{{"requests", std::move(found)}};
  });
  server.on("metrics",
            [this](const json&) -> Result<json> { return json{{"text", gateway_.metrics()}}; });
}

// Two descriptors a request: as many as the system allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int fail(const Error& error) {
  log_error("gateway cannot run", {{"error", error.message()}, {"remedy", error.remedy()}});
  return 1;
}

std::string succession_path(const RoleOptions& options) {
  return options.socket + ".succession";
}

gateway::GatewayOptions gateway_options(const RoleOptions& options) {
  const std::size_t cores = std::max<std::size_t>(1, std::thread::hardware_concurrency());
  return {.state_dir = options.state_dir,
          .workers = options.workers > 0 ? static_cast<std::size_t>(options.workers) : cores};
}

// Starts, from a predecessor's sockets when there is one that runs.
Result<std::unique_ptr<Gateway>> take_over(const RoleOptions& options) {
  auto predecessor = gateway::Predecessor::meet(succession_path(options));
  if (!predecessor) {
    log_info("no gateway runs to take over from");
    return Gateway::start(gateway_options(options));
  }
  TRY(gateway::Inheritance inheritance, predecessor->take());
  TRY(auto gateway, Gateway::start(gateway_options(options), std::move(inheritance)));
  // It has died in between: then there is nobody to take the place of.
  if (const auto dismissed = predecessor->dismiss(); !dismissed)
    log_warn("the former gateway is gone", {{"error", dismissed.error().message()}});
  return gateway;
}

// Until its last connection has ended, or it is told to stop, or its time is over.
void serve_out_retirement(Gateway& gateway) {
  constexpr Duration kLook = 100ms;
  const SystemClock clock;
  const Mono until = clock.now() + gateway.retirement();
  while (gateway.sessions() > 0 && clock.now() < until && !rpc::stop_signal_within(kLook)) {
  }
}

}  // namespace

int run_gateway(const RoleOptions& options) {
  rpc::block_stop_signals();
  raise_descriptor_limit();
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  auto started = options.take_over ? take_over(options) : Gateway::start(gateway_options(options));
  if (!started) return fail(started.error());
  Gateway& gateway = **started;
  // Left by another process that had our number: it would say that this one is succeeded.
  ::unlink(Lineage::path_of(options.socket, ::getpid()).c_str());
  rpc::Server server;
  GatewayVerbs verbs(gateway, options.socket);
  verbs.add_to(server);
  if (const auto listening = server.listen(options.socket); !listening)
    return fail(listening.error());
  auto succession = gateway::Succession::open(succession_path(options), gateway, [&] {
    (void)server.move_to(Lineage::path_of(options.socket, ::getpid()));  // else it cannot be asked
    ::kill(::getpid(), SIGTERM);
  });
  if (!succession)
    log_warn("this gateway cannot be upgraded while it runs",
             {{"error", succession.error().message()}});
  log_info("gateway runs", {{"workers", gateway_options(options).workers}});
  rpc::wait_for_stop_signal();
  log_info("gateway drains");
  if (gateway.is_retired()) serve_out_retirement(gateway);
  gateway.drain();
  server.stop();
  return 0;
}

}  // namespace banyan
