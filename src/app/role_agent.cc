// The agent: what runs beside the application. Its parts take up what they were told before.
#include <filesystem>

#include "app/roles.h"
#include "base/clock.h"
#include "base/log.h"
#include "planes/files/files_service.h"
#include "planes/fleet/fleet_service.h"
#include "planes/sessions/sessions_service.h"
#include "store/journal.h"
#include "wire/rpc/server.h"

namespace banyan {
namespace {

using nlohmann::json;

// A verb bound to a method of a service.
template <class Service>
void mount(rpc::Server& server, std::string verb, Service& service,
           Result<json> (Service::*method)(const json&)) {
  server.on(std::move(verb), [&service, method](const json& in) { return (service.*method)(in); });
}

void mount_files(rpc::Server& server, files::FilesService& service) {
  using files::FilesService;
  mount(server, "files.start", service, &FilesService::start);
  mount(server, "files.status", service, &FilesService::status);
  mount(server, "files.verify", service, &FilesService::verify);
  mount(server, "files.barrier", service, &FilesService::barrier);
  mount(server, "files.direction", service, &FilesService::direction);
  mount(server, "files.discard", service, &FilesService::discard);
  mount(server, "files.stop", service, &FilesService::stop);
}

void mount_sessions(rpc::Server& server, sessions::SessionsService& service) {
  using sessions::SessionsService;
  mount(server, "sessions.start", service, &SessionsService::start);
  mount(server, "sessions.status", service, &SessionsService::status);
  mount(server, "sessions.final", service, &SessionsService::final_pass);
  mount(server, "sessions.verify", service, &SessionsService::verify);
  mount(server, "sessions.resume", service, &SessionsService::resume);
  mount(server, "sessions.stop", service, &SessionsService::stop);
}

void mount_fleet(rpc::Server& server, fleet::FleetService& service) {
  using fleet::FleetService;
  mount(server, "fleet.apply", service, &FleetService::apply);
  mount(server, "fleet.status", service, &FleetService::status);
  mount(server, "fleet.stop", service, &FleetService::stop);
  mount(server, "fleet.drained", service, &FleetService::drained);
}

Result<void> serve(const RoleOptions& options) {
  const SystemClock clock;
  TRY(const auto store, store::StateStore::open(options.state_dir + "/agent.db"));
  TRY(const auto files, files::FilesService::create(options.state_dir));
  TRY(const auto sessions, sessions::SessionsService::open(*store, clock));
  TRY(const auto fleet, fleet::FleetService::open(*store, clock, options.state_dir));
  rpc::Server server;
  mount_files(server, *files);
  mount_sessions(server, *sessions);
  mount_fleet(server, *fleet);
  TRY_VOID(server.listen(options.socket));
  log_info("agent answers", {{"socket", options.socket}});
  const int signal = rpc::wait_for_stop_signal();
  log_info("agent stops", {{"signal", signal}});
  server.stop();
  return {};
}

// Credentials of databases and applications are kept there.
Result<void> make_private(const std::string& directory) {
  std::error_code problem;
  std::filesystem::create_directories(directory, problem);
  if (!problem) std::filesystem::permissions(directory, std::filesystem::perms::owner_all, problem);
  if (problem)
    return failure(Code::kPermission, "preparing " + directory + ": " + problem.message());
  return {};
}

}  // namespace

int run_agent(const RoleOptions& options) {
  rpc::block_stop_signals();
  auto served = make_private(options.state_dir);
  if (served) served = serve(options);
  if (served) return 0;
  log_error("agent cannot go on",
            {{"error", served.error().message()}, {"remedy", served.error().remedy()}});
  return 1;
}

}  // namespace banyan
