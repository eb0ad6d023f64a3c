// The gateway role: the verbs of its socket, in front of gateway::Gateway.

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "app/roles.h"
#include "base/log.h"
#include "planes/gateway/gateway.h"
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
  request.bounds.max_requests = in.value("max_requests", request.bounds.max_requests);
  request.bounds.max_bytes = in.value("max_bytes", request.bounds.max_bytes);
  request.bounds.max_hold = ms_of(in, "max_ms", 30s);
  return request;
}

gateway::EndpointName endpoint_name(const json& in) {
  return {.backend = in.at("backend").get<std::string>(),
          .address = in.at("address").get<std::string>()};
}

Result<json> put_snapshot(Gateway& gateway, const json& in) {
  TRY(auto snapshot, gateway::RouteSnapshot::from_json(in.at("snapshot")));
  TRY(const std::uint64_t epoch, gateway.put_snapshot(std::move(snapshot)));
  return json{{"epoch", epoch}};
}

Result<json> open_hold(Gateway& gateway, const json& in) {
  TRY(const gateway::HoldStats stats,
      gateway.open_hold(in.at("epoch").get<std::uint64_t>(), in.value("pace_per_s", 0.0)));
  return json{{"held", stats.held},
              {"longest_hold_ms", to_ms(stats.longest)},
              {"refused", stats.refused},
              {"failed", stats.failed}};
}

Result<json> drain_endpoint(Gateway& gateway, const json& in) {
  TRY(const std::int64_t active,
      gateway.drain_endpoint(endpoint_name(in), ms_of(in, "timeout_ms", 10s)));
  return json{{"drained", active == 0}, {"active", active}};
}

void add_verbs(rpc::Server& server, Gateway& gateway) {
  server.on("snapshot.put", [&](const json& in) { return put_snapshot(gateway, in); });
  server.on("snapshot.get",
            [&](const json&) -> Result<json> { return json{{"snapshot", gateway.snapshot()}}; });
  server.on("status", [&](const json&) -> Result<json> { return gateway.status(); });
  server.on("hold.close", [&](const json& in) -> Result<json> {
    TRY_VOID(gateway.close_hold(hold_request(in)));
    return gateway.status();
  });
  server.on("hold.commit", [&](const json& in) -> Result<json> {
    TRY_VOID(gateway.commit_hold(in.at("epoch").get<std::uint64_t>()));
    return gateway.status();
  });
  server.on("hold.open", [&](const json& in) { return open_hold(gateway, in); });
  server.on("endpoint.drain", [&](const json& in) { return drain_endpoint(gateway, in); });
  server.on("endpoint.undrain", [&](const json& in) -> Result<json> {
    TRY_VOID(gateway.undrain_endpoint(endpoint_name(in)));
    return json::object();
  });
  server.on("metrics",
            [&](const json&) -> Result<json> { return json{{"text", gateway.metrics()}}; });
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

}  // namespace

int run_gateway(const RoleOptions& options) {
  rpc::block_stop_signals();
  raise_descriptor_limit();
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  const std::size_t workers = options.workers > 0
                                  ? static_cast<std::size_t>(options.workers)
                                  : std::max<std::size_t>(1, std::thread::hardware_concurrency());
  auto gateway = Gateway::start({.state_dir = options.state_dir, .workers = workers});
  if (!gateway) return fail(gateway.error());
  rpc::Server server;
  add_verbs(server, **gateway);
  if (const auto listening = server.listen(options.socket); !listening)
    return fail(listening.error());
  log_info("gateway runs", {{"workers", workers}});
  rpc::wait_for_stop_signal();
  log_info("gateway drains");
  (*gateway)->drain();
  server.stop();
  return 0;
}

}  // namespace banyan
