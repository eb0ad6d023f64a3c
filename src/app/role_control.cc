#include "app/role_control.h"

#include "base/log.h"
#include "control/service.h"
#include "wire/rpc/server.h"

namespace banyan {

using control::ControlService;
using nlohmann::json;

namespace {

// Mounts a method of the service as a verb.
template <class Method>
void mount(rpc::Server& server, ControlService& service, const char* verb, Method method) {
  server.on(verb, [&service, method](const json& in) -> Result<json> {
    if constexpr (std::is_invocable_v<Method, ControlService&, const json&>) {
      return (service.*method)(in);
    } else {
      return (service.*method)();
    }
  });
}

void mount_all(rpc::Server& server, ControlService& service) {
  mount(server, service, "status", &ControlService::status);
  mount(server, service, "plan", &ControlService::plan);
  mount(server, service, "apply", &ControlService::apply);
  mount(server, service, "migrate.create", &ControlService::create_migration);
  mount(server, service, "migrate.status", &ControlService::migration_status);
  mount(server, service, "migrate.verify", &ControlService::verify);
  mount(server, service, "migrate.repair", &ControlService::repair);
  mount(server, service, "migrate.throttle", &ControlService::throttle);
  mount(server, service, "migrate.plan_split", &ControlService::plan_split);
  mount(server, service, "migrate.cut_over", &ControlService::cut_over);
  mount(server, service, "migrate.events", &ControlService::events);
  mount(server, service, "migrate.cancel", &ControlService::cancel);
  mount(server, service, "migrate.complete", &ControlService::complete);
  mount(server, service, "migrate.report", &ControlService::report);
}

Result<void> serve(const control::Layout& layout) {
  TRY(const auto service, ControlService::create(control::Project(layout)));
  rpc::Server server;
  mount_all(server, *service);
  TRY_VOID(server.listen(layout.socket("control")));
  log_info("control is ready", {{"spec", layout.spec_file()}});
  rpc::wait_for_stop_signal();
  server.stop();
  return {};
}

}  // namespace

int run_control(const control::Layout& layout) {
  configure_log("control", Level::kInfo);
  rpc::block_stop_signals();
  const auto served = serve(layout);
  if (!served) log_error("control stopped", {{"error", served.error().message()}});
  return served ? 0 : 1;
}

}  // namespace banyan
