// init: the first banyan.yaml, from another proxy's configuration or as a start to fill in.

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "app/cli.h"
#include "control/imported.h"
#include "spec/spec.h"

namespace banyan {

using nlohmann::json;

namespace {

constexpr std::string_view kStart =
    R"(# yaml-language-server: $schema=banyan.schema.json
# (banyan docs schema > banyan.schema.json). Every setting: docs/spec.md.
# Next: correct the addresses, then `banyan validate` and `banyan assess`.
banyan: 1
name: {}
source:                                    # what runs today; never modified without an act
  app: {{ listen: "127.0.0.1:8000" }}
gateway: {{ listen: "127.0.0.1:8080" }}
routes:
  - {{ match: /*, to: source }}
)";

struct InitOptions {
  std::string from;
  std::string name;
  bool force = false;
};

Result<void> write_new(const std::string& path, const std::string& text, bool force) {
  if (!force && std::filesystem::exists(path))
    return std::unexpected(Error(Code::kConflict, path + " is there already")
                               .with_remedy("name another file with -f, or add --force"));
  const std::string temporary = path + ".new";
  std::ofstream out(temporary, std::ios::binary);
  out << text;
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(temporary, path, error);
  if (!out || error) return failure(Code::kPermission, path + " cannot be written");
  return {};
}

std::string name_for(const InitOptions& options, const std::string& spec_file) {
  if (!options.name.empty()) return options.name;
  const auto folder = std::filesystem::absolute(spec_file).parent_path().filename().string();
  return control::service_name(folder);
}

// A text that Banyan itself would refuse is not written.
Result<void> check(const std::string& text, const std::string& path) {
  const auto outcome = spec::parse_spec(text, path);
  if (outcome.ok()) return {};
  std::string message = "what was read makes no valid spec:\n";
  for (const auto& problem : outcome.problems) message += spec::format(problem);
  return std::unexpected(
      Error(Code::kInvalidArgument, message)
          .with_remedy("correct the named part of the configuration, or report it"));
}

json left_json(const control::Imported& imported) {
  json out = json::array();
  for (const auto& left : imported.left)
    out.push_back({{"where", left.where}, {"what", left.what}, {"do", left.do_this}});
  return out;
}

Result<json> init_from(const Cli& cli, const InitOptions& options) {
  TRY(const auto imported, control::import_file(options.from));
  if (imported.routes.empty())
    return std::unexpected(
        Error(Code::kInvalidArgument, options.from + " has no route that could be carried over")
            .with_remedy("name the nginx.conf or haproxy.cfg that serves HTTP"));
  const std::string text =
      control::imported_yaml(imported, name_for(options, cli.spec_file),
                             std::filesystem::path(options.from).filename().string());
  TRY_VOID(check(text, cli.spec_file));
  TRY_VOID(write_new(cli.spec_file, text, options.force));
  return json{{"file", cli.spec_file},
              {"routes", imported.routes.size()},
              {"services", imported.services.size()},
              {"left", left_json(imported)}};
}

Result<json> init_empty(const Cli& cli, const InitOptions& options) {
  const std::string text = fmt::format(kStart, name_for(options, cli.spec_file));
  TRY_VOID(check(text, cli.spec_file));
  TRY_VOID(write_new(cli.spec_file, text, options.force));
  return json{{"file", cli.spec_file}, {"routes", 1}, {"services", 0}, {"left", json::array()}};
}

void print_initialised(const json& out) {
  fmt::print("{}: {} routes, {} services.\n", out.value("file", ""), out.value("routes", 0),
             out.value("services", 0));
  const json& left = out.at("left");
  if (!left.empty()) fmt::print("Not carried over ({}):\n", left.size());
  for (const json& one : left)
    fmt::print("  {}  {}\n      {}\n", one.value("where", ""), one.value("what", ""),
               one.value("do", ""));
  fmt::print("Next: banyan validate\n");
}

}  // namespace

void add_init_verb(CLI::App& app, Cli& cli) {
  auto* verb = app.add_subcommand("init", "write the first banyan.yaml (-f names it)");
  auto options = std::make_shared<InitOptions>();
  verb->add_option("--from", options->from, "nginx.conf or haproxy.cfg to carry over");
  verb->add_option("--name", options->name, "name of the system (default: the folder's)");
  verb->add_option("-o,--output", cli.spec_file, "file to write (default: banyan.yaml)");
  verb->add_flag("--force", options->force, "replace a file that is there");
  verb->callback([&cli, options] {
    const auto out = options->from.empty() ? init_empty(cli, *options) : init_from(cli, *options);
    cli.exit = out ? cli.show(*out, print_initialised) : cli.show(out.error());
  });
}

}  // namespace banyan
