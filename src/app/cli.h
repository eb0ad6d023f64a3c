#pragma once
// What every verb of the command line shares: the options common to all, the road to the control
// role, and how results and errors are shown. Verbs return an Exit; nothing here exits.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "app/exit_code.h"
#include "base/error.h"
#include "control/layout.h"
#include "wire/rpc/client.h"

namespace banyan {

struct Cli {
  std::string spec_file = "banyan.yaml";
  std::string state_dir;
  bool as_json = false;
  bool assume_yes = false;
  Exit exit = Exit::kOk;

  Result<control::Layout> layout() const { return control::Layout::create(spec_file, state_dir); }
  // Calls a verb of `banyan control`.
  Result<nlohmann::json> control(const std::string& verb,
                                 const nlohmann::json& in = nlohmann::json::object(),
                                 Duration timeout = 30s) const;

  // Prints an Error to stderr: what, and numbered ways out; as JSON with --json.
  Exit show(const Error& error) const;
  // Prints `out` as JSON with --json, else calls `human`.
  Exit show(const nlohmann::json& out,
            const std::function<void(const nlohmann::json&)>& human) const;
};

// Whether people are watching: progress is then drawn in place.
bool is_terminal();
// "1.2 MB", "3 min 20 s": for people only.
std::string human_bytes(double bytes);
std::string human_seconds(double seconds);
// "  label   value" with the labels of one block aligned.
void print_field(std::string_view label, std::string_view value);
// The numbered ways out of an Error's remedy.
void print_ways(FILE* to, std::string_view remedy);
// A field of several lines: the label stands before the first one only.
void print_names(const char* label, const nlohmann::json& names);

// Each adds its verbs to the command line.
void add_declare_verbs(CLI::App& app, Cli& cli);
void add_migrate_verbs(CLI::App& app, Cli& cli);
void add_init_verb(CLI::App& app, Cli& cli);
void add_run_verbs(CLI::App& app, Cli& cli);
void add_route_verbs(CLI::App& app, Cli& cli);
void add_watch_verbs(CLI::App& app, Cli& cli);
void add_role_verbs(CLI::App& app, Cli& cli);
void add_cert_verbs(CLI::App& app, Cli& cli);

}  // namespace banyan
