// up, down, status, ps, logs: what runs.

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <thread>

#include "app/cli.h"
#include "app/supervisor.h"
#include "base/log.h"
#include "control/gateways.h"
#include "control/project.h"

namespace banyan {

using nlohmann::json;

namespace {

constexpr Duration kUpPatience = 30s;
constexpr Duration kDownPatience = 60s;
constexpr Duration kUpgradePatience = 60s;

// ---- up and down

RoleCommand role_command(const control::Layout& layout, const std::string& role) {
  return {.name = role,
          .argv = {role, "--socket", layout.socket(role), "--state-dir", layout.role_dir(role)}};
}

// Several share the machine's cores.
Result<void> add_gateways(const control::Layout& layout, int count,
                          std::vector<RoleCommand>& roles) {
  TRY_VOID(layout.set_gateways(count));
  const int workers = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / count);
  for (const std::string& name : layout.gateways()) {
    RoleCommand gateway = role_command(layout, name);
    gateway.argv.front() = "gateway";
    if (count > 1) gateway.argv.insert(gateway.argv.end(), {"--workers", std::to_string(workers)});
    gateway.socket = layout.socket(name);
    roles.push_back(std::move(gateway));
  }
  return {};
}

Result<RoleCommand> objects_command(const control::Project& project, const spec::Spec& spec,
                                    const spec::Bucket& bucket) {
  TRY(const auto keys, control::bucket_keys(project, spec, bucket));
  std::string listen = bucket.endpoint.substr(bucket.endpoint.find("://") + 3);
  listen = listen.substr(0, listen.find('/'));
  return RoleCommand{.name = "objects-" + bucket.name,
                     .argv = {"objects", "--listen", listen, "--root", *bucket.root, "--access-key",
                              keys.access_key, "--secret-key-file", keys.secret_key_file}};
}

Result<std::vector<RoleCommand>> role_commands(const control::Layout& layout) {
  const control::Project project(layout);
  TRY(const auto spec, project.spec());
  std::vector<RoleCommand> roles;
  for (const auto& [name, bucket] : spec.buckets) {
    if (!bucket.root) continue;
    TRY(auto objects, objects_command(project, spec, bucket));
    roles.push_back(std::move(objects));
  }
  TRY_VOID(add_gateways(layout, spec.gateway.instances, roles));
  for (const char* role : {"replicate", "agent"}) roles.push_back(role_command(layout, role));
  roles.push_back(
      {.name = "control",
       .argv = {"control", "--file", layout.spec_file(), "--state-dir", layout.state_dir()}});
  return roles;
}

// The parent waits until control answers, so that the next verb works.
Exit wait_until_up(const Cli& cli, const control::Layout& layout) {
  const Mono deadline = SystemClock().now() + kUpPatience;
  const rpc::Client control("control", layout.socket("control"));
  while (SystemClock().now() < deadline) {
    if (control.is_listening())
      return cli.show(json{{"up", true}},
                      [](const json&) { fmt::print("Up.\nNext: banyan plan\n"); });
    std::this_thread::sleep_for(50ms);
  }
  return cli.show(Error(Code::kTimeout, "the control role did not answer within 30 s")
                      .with_remedy("banyan logs control"));
}

void detach_from_terminal(const control::Layout& layout) {
  ::setsid();
  std::freopen("/dev/null", "r", stdin);
  std::freopen(layout.log("up").c_str(), "a", stdout);
  std::freopen(layout.log("up").c_str(), "a", stderr);
}

Exit supervise(const Cli& cli, const control::Layout& layout) {
  auto roles = role_commands(layout);
  if (!roles) return cli.show(roles.error());
  configure_log("up", Level::kInfo);
  const auto ran = Supervisor(layout, std::move(*roles)).run();
  return ran ? Exit::kOk : cli.show(ran.error());
}

Exit up(const Cli& cli, bool detach) {
  const auto layout = cli.layout();
  if (!layout) return cli.show(layout.error());
  if (const auto spec = spec::require_spec(cli.spec_file); !spec) return cli.show(spec.error());
  if (running_supervisor(*layout) > 0)
    return cli.show(json{{"up", true}}, [](const json&) { fmt::print("Up already.\n"); });
  if (!detach) return supervise(cli, *layout);
  const pid_t child = ::fork();
  if (child != 0) return wait_until_up(cli, *layout);
  detach_from_terminal(*layout);
  return supervise(cli, *layout);
}

Exit down(const Cli& cli, bool keep_instances) {
  const auto layout = cli.layout();
  if (!layout) return cli.show(layout.error());
  const int pid = running_supervisor(*layout);
  if (pid == 0) return cli.show(json{{"up", false}}, [](const json&) { fmt::print("Not up.\n"); });
  if (!keep_instances) {
    const auto stopped =
        rpc::Client("agent", layout->socket("agent")).call("fleet.stop", json::object(), 60s);
    if (!stopped) cli.show(stopped.error());
  }
  ::kill(pid, SIGTERM);
  const Mono deadline = SystemClock().now() + kDownPatience;
  while (running_supervisor(*layout) == pid && SystemClock().now() < deadline)
    std::this_thread::sleep_for(50ms);
  return cli.show(json{{"up", false}}, [](const json&) { fmt::print("Down.\n"); });
}

// ---- upgrade

int pid_of(const json& status) {
  return status.value("pid", 0);
}

json upgraded_json(const std::vector<json>& before, const std::vector<json>& now) {
  json out = {{"upgraded", true}, {"from", pid_of(before[0])}, {"to", pid_of(now[0])}};
  for (std::size_t i = 0; i < now.size(); ++i)
    out["gateways"].push_back({{"from", pid_of(before[i])}, {"to", pid_of(now[i])}});
  return out;
}

void print_upgraded(const json& out) {
  for (const json& one : out.at("gateways"))
    fmt::print("Upgraded: process {} took over from {}, which ends with its last connection.\n",
               one.value("to", 0), one.value("from", 0));
}

// Waits until other processes answer for all gateways.
Exit await_upgrade(const Cli& cli, const control::Gateways& gateways,
                   const std::vector<json>& before) {
  const Mono deadline = SystemClock().now() + kUpgradePatience;
  while (SystemClock().now() < deadline) {
    const auto now = gateways.insist("status", json::object(), {});
    if (now && std::ranges::equal(*now, before, std::ranges::not_equal_to(), pid_of, pid_of))
      return cli.show(upgraded_json(before, *now), print_upgraded);
    std::this_thread::sleep_for(50ms);
  }
  return cli.show(Error(Code::kTimeout, "a gateway was not taken over from; the former one goes on")
                      .with_remedy("banyan logs gateway"));
}

Exit upgrade_gateway(const Cli& cli) {
  const auto layout = cli.layout();
  if (!layout) return cli.show(layout.error());
  const int supervisor = running_supervisor(*layout);
  if (supervisor == 0)
    return cli.show(Error(Code::kUnavailable, "banyan is not up").with_remedy("banyan up -d"));
  const control::Gateways gateways(*layout);
  const auto before = gateways.insist("status", json::object(), {});
  if (!before) return cli.show(before.error());
  const auto is_open = [](const json& one) { return one.value("phase", "open") == "open"; };
  if (!std::ranges::all_of(*before, is_open))
    return cli.show(Error(Code::kConflict, "requests are being held: no upgrade now")
                        .with_remedy("wait until the switch has ended: banyan status"));
  request_upgrade(supervisor);
  return await_upgrade(cli, gateways, *before);
}

// ---- looking

void print_overview(const json& out) {
  fmt::print("{}\n", out.value("name", ""));
  for (const auto& [role, running] : out.at("roles").items())
    print_field(role, running.get<bool>() ? "running" : "not running");
  for (const json& migration : out.at("migrations"))
    fmt::print("  migration {:<12} {}, {} side serves\nNext: {}\n", migration.value("name", ""),
               migration.value("state", ""), migration.value("serves", ""),
               migration.value("next", ""));
}

Exit status(const Cli& cli) {
  const auto out = cli.control("status");
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_overview);
}

void print_instances(const json& out) {
  fmt::print("  {:<10} {:<6} {:<22} {:>8} {:<11} {:>8}\n", "SERVICE", "ZONE", "ADDRESS", "PID",
             "STATE", "RESTARTS");
  for (const json& service : out.value("services", json::array()))
    for (const json& instance : service.value("instances", json::array()))
      fmt::print("  {:<10} {:<6} {:<22} {:>8} {:<11} {:>8}\n", service.value("name", ""),
                 instance.value("zone", ""), instance.value("address", ""),
                 instance.value("pid", 0), instance.value("state", ""),
                 instance.value("restarts", 0));
}

Exit ask_role(const Cli& cli, const std::string& role, const std::string& verb,
              const std::function<void(const json&)>& human) {
  const auto layout = cli.layout();
  if (!layout) return cli.show(layout.error());
  const auto out = rpc::Client(role, layout->socket(role)).call(verb);
  if (!out) return cli.show(out.error());
  return cli.show(*out, human);
}

Exit logs(const Cli& cli, const std::string& name, int lines) {
  const auto layout = cli.layout();
  if (!layout) return cli.show(layout.error());
  std::string path = layout->log(name);
  if (::access(path.c_str(), R_OK) != 0)
    path = layout->role_dir("agent") + "/logs/" + name + ".log";
  std::ifstream in(path);
  if (!in)
    return cli.show(Error(Code::kNotFound, "no log of " + name)
                        .with_remedy("banyan logs control|gateway|replicate|agent|INSTANCE"));
  std::deque<std::string> last;
  for (std::string line; std::getline(in, line);) {
    last.push_back(std::move(line));
    if (last.size() > static_cast<std::size_t>(lines)) last.pop_front();
  }
  return cli.show(json{{"name", name}, {"lines", last}}, [&](const json&) {
    for (const std::string& line : last) fmt::print("{}\n", line);
  });
}

void add_logs(CLI::App& app, Cli& cli) {
  auto* verb = app.add_subcommand("logs", "the last lines of a role's or an instance's log");
  auto* name =
      verb->add_option("NAME", "control, gateway, replicate, agent, up or an instance")->required();
  auto lines = std::make_shared<int>(50);
  verb->add_option("-n,--lines", *lines, "how many (default 50)");
  verb->callback([&cli, name, lines] { cli.exit = logs(cli, name->as<std::string>(), *lines); });
}

}  // namespace

void add_run_verbs(CLI::App& app, Cli& cli) {
  auto* up_verb = app.add_subcommand("up", "start the roles and keep them running");
  auto detach = std::make_shared<bool>(false);
  up_verb->add_flag("-d,--detach", *detach, "in the background; returns once they answer");
  up_verb->callback([&cli, detach] { cli.exit = up(cli, *detach); });
  auto* down_verb = app.add_subcommand("down", "stop the roles and the instances");
  auto keep = std::make_shared<bool>(false);
  down_verb->add_flag("--keep-instances", *keep, "leave the services' instances running");
  down_verb->callback([&cli, keep] { cli.exit = down(cli, *keep); });
  auto* upgrade = app.add_subcommand("upgrade", "run the program now on disk, without a pause");
  upgrade->require_subcommand(1);
  upgrade->add_subcommand("gateway", "no connection is refused, reset or cut")->callback([&cli] {
    cli.exit = upgrade_gateway(cli);
  });
  app.add_subcommand("status", "what runs and where every migration stands")->callback([&cli] {
    cli.exit = status(cli);
  });
  app.add_subcommand("ps", "the instances")->callback([&cli] {
    cli.exit = ask_role(cli, "agent", "fleet.status", print_instances);
  });
  add_logs(app, cli);
}

}  // namespace banyan
