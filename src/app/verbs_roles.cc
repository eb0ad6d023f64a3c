// gateway, replicate, agent, objects, control: the roles, started by `banyan up` or by hand.

#include "app/cli.h"
#include "app/role_control.h"
#include "app/roles.h"

namespace banyan {
namespace {

Exit from_status(int status) {
  return status == 0 ? Exit::kOk : Exit::kError;
}

void add_role(CLI::App& app, Cli& cli, const char* name, const char* help,
              int (*run)(const RoleOptions&)) {
  auto options = std::make_shared<RoleOptions>();
  auto* verb = app.add_subcommand(name, help)->group("Roles");
  verb->fallthrough(false);
  verb->add_option("--socket", options->socket, "Unix socket to answer on")->required();
  verb->add_option("--state-dir", options->state_dir, "private folder of the role")->required();
  verb->add_option("--workers", options->workers, "gateway: event-loop threads, 0 = one per core");
  verb->add_flag("--take-over", options->take_over,
                 "gateway: take over from the one that runs, dropping no connection");
  verb->callback([&cli, options, run] { cli.exit = from_status(run(*options)); });
}

void add_objects(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<ObjectsOptions>();
  auto* verb = app.add_subcommand("objects", "an S3 endpoint over a folder")->group("Roles");
  verb->add_option("--listen", options->listen, "address:port")->required();
  verb->add_option("--root", options->root, "folder that holds the buckets")->required();
  verb->add_option("--access-key", options->access_key, "the one access key")->required();
  verb->add_option("--secret-key-file", options->secret_key_file, "file with its secret")
      ->required();
  verb->callback([&cli, options] { cli.exit = from_status(run_objects(*options)); });
}

}  // namespace

void add_role_verbs(CLI::App& app, Cli& cli) {
  add_role(app, cli, "gateway", "carries the traffic", run_gateway);
  add_role(app, cli, "replicate", "moves the databases", run_replicate);
  add_role(app, cli, "agent", "moves files and sessions, runs instances", run_agent);
  add_objects(app, cli);
  auto* control = app.add_subcommand("control", "conducts the others")->group("Roles");
  control->callback([&cli] {
    const auto layout = cli.layout();
    cli.exit = layout ? from_status(run_control(*layout)) : cli.show(layout.error());
  });
}

}  // namespace banyan
