// banyan: one binary. The verbs people type and the roles that run are subcommands of it.

#include <fmt/format.h>

#include <algorithm>

#include "app/cli.h"
#include "app/usage.h"

namespace {

constexpr const char* kAbout =
    "Banyan moves a running monolith onto a scalable architecture, live, and then runs it there.\n"
    "Start with: banyan validate, assess, up, plan, apply, then migrate create|verify|switch NAME.";

void add_common(CLI::App& app, banyan::Cli& cli) {
  app.add_option("-f,--file", cli.spec_file, "the spec (default: banyan.yaml)")
      ->envname("BANYAN_FILE");
  app.add_option("--state-dir", cli.state_dir,
                 "where state is kept (default: .banyan beside the spec)")
      ->envname("BANYAN_STATE_DIR");
  app.add_flag("--json", cli.as_json, "answer in JSON");
  app.add_flag("-y,--yes", cli.assume_yes, "do not ask");
  app.set_version_flag("--version", "banyan 0.1.0");
  app.fallthrough();
}

}  // namespace

int main(int argc, char** argv) {
  banyan::Cli cli;
  CLI::App app(kAbout, "banyan");
  add_common(app, cli);
  banyan::add_declare_verbs(app, cli);
  banyan::add_migrate_verbs(app, cli);
  banyan::add_init_verb(app, cli);
  banyan::add_run_verbs(app, cli);
  banyan::add_route_verbs(app, cli);
  banyan::add_watch_verbs(app, cli);
  banyan::add_role_verbs(app, cli);
  banyan::add_cert_verbs(app, cli);
  app.require_subcommand(1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const std::vector<std::string> words(argv + 1, argv + argc);
    cli.as_json = std::ranges::find(words, "--json") != words.end();
    return banyan::exit_status(cli.show(banyan::usage_error(app, words, error.what())));
  }
  return banyan::exit_status(cli.exit);
}
