// validate, assess, plan, apply, docs: what should exist.

#include <fmt/format.h>

#include <fstream>
#include <map>

#include "app/cli.h"
#include "control/admission.h"
#include "control/assess.h"
#include "control/project.h"
#include "spec/codes.h"
#include "spec/spec.h"

namespace banyan {

using nlohmann::json;

namespace {

json problem_json(const spec::Problem& p) {
  return {{"code", p.code},        {"file", p.file}, {"line", p.at.line},
          {"column", p.at.column}, {"what", p.what}, {"do", p.do_this}};
}

Exit validate(const Cli& cli) {
  const auto outcome = spec::load_spec(cli.spec_file);
  json out = {{"ok", outcome.ok()}, {"problems", json::array()}};
  for (const auto& problem : outcome.problems) out["problems"].push_back(problem_json(problem));
  if (cli.as_json) fmt::print("{}\n", out.dump(2));
  if (!cli.as_json && outcome.ok())
    fmt::print("{} is valid.\nNext: banyan assess\n", cli.spec_file);
  if (!cli.as_json)
    for (const auto& problem : outcome.problems) fmt::print(stderr, "{}", spec::format(problem));
  return outcome.ok() ? Exit::kOk : Exit::kError;
}

void print_item(const json& item) {
  fmt::print("  {:<8} {}\n", item.value("severity", ""), item.value("title", ""));
  if (const auto where = item.value("where", ""); !where.empty())
    fmt::print("           at {}\n", where);
  if (const auto why = item.value("why", ""); !why.empty()) fmt::print("           why: {}\n", why);
  if (const auto todo = item.value("do", ""); !todo.empty())
    fmt::print("           do:  {}\n", todo);
}

void print_assessment(const json& out) {
  for (const json& item : out.value("items", json::array())) print_item(item);
  fmt::print("Next: banyan plan\n");
}

json item_of(const json& check) {
  return {{"severity", check.value("severity", "")}, {"id", check.value("id", "")},
          {"title", check.value("title", "")},       {"where", "database"},
          {"why", check.value("detail", "")},        {"do", check.value("fix_sql", "")}};
}

// The findings of the databases that are to be moved, as items of the assessment.
Result<json> database_items(const Cli& cli, const spec::Spec& spec) {
  TRY(const auto layout, cli.layout());
  const control::Project project(layout);
  json items = json::array();
  if (!project.replicate().is_listening()) return items;
  for (const auto& [name, migration] : spec.migrations) {
    TRY(const json found, control::database_preflight(project, spec, migration));
    for (const json& check : found.at("checks"))
      if (!check.value("ok", true)) items.push_back(item_of(check));
  }
  return items;
}

Exit assess(const Cli& cli) {
  const auto spec = spec::require_spec(cli.spec_file);
  if (!spec) return cli.show(spec.error());
  auto out = control::assess(*spec);
  if (!out) return cli.show(out.error());
  const auto databases = database_items(cli, *spec);
  if (!databases) return cli.show(databases.error());
  for (const json& item : *databases) (*out)["items"].push_back(item);
  return cli.show(*out, print_assessment);
}

Exit explain(const Cli& cli, const std::string& code) {
  const spec::CodeEntry* entry = spec::explain(code);
  if (entry == nullptr)
    return cli.show(Error(Code::kNotFound, "there is no code " + code)
                        .with_remedy("codes look like BY-0312; docs/errors.md lists them"));
  fmt::print("{}  {}\n  why  {}\n  do   {}\n", entry->code, entry->title, entry->why,
             entry->remedy);
  return Exit::kOk;
}

// After everything is applied: the migrations that are declared, or what serves.
std::string next_after_apply(const Cli& cli) {
  const auto spec = spec::require_spec(cli.spec_file);
  const bool moves = spec && !spec->migrations.empty();
  return moves ? "banyan migrate create " + spec->migrations.begin()->first : "banyan route ls";
}

void print_plan(const json& out, const std::string& next) {
  const json& steps = out.at("steps");
  if (steps.empty()) fmt::print("No changes. What the spec declares is what runs.\n");
  int number = 0;
  for (const json& step : steps)
    fmt::print("  {}  {:<60} {}\n      why: {}; undo: {}\n", ++number, step.value("what", ""),
               step.value("risk", ""), step.value("why", ""), step.value("undo", ""));
  fmt::print("Plan {}.  Nothing here moves traffic or data.\nNext: {}\n", out.value("hash", ""),
             steps.empty() ? next : "banyan apply");
}

Exit plan(const Cli& cli, const std::string& save_to) {
  const auto out = cli.control("plan");
  if (!out) return cli.show(out.error());
  if (!save_to.empty()) std::ofstream(save_to) << out->dump(2) << "\n";
  cli.show(*out, [&](const json& plan) { print_plan(plan, next_after_apply(cli)); });
  return out->at("steps").empty() ? Exit::kOk : Exit::kPending;
}

Result<json> saved_plan(const std::string& file) {
  if (file.empty()) return json::object();
  std::ifstream in(file);
  json saved = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (saved.is_discarded() || !saved.contains("hash"))
    return failure(Code::kInvalidArgument, file + " is not a plan saved by banyan plan -o");
  return json{{"hash", saved["hash"]}};
}

Exit apply_spec(const Cli& cli, const std::string& file) {
  const auto saved = saved_plan(file);
  if (!saved) return cli.show(saved.error());
  const auto out = cli.control("apply", *saved, 120s);
  if (!out) {
    const Exit shown = cli.show(out.error());
    return out.error().code() == Code::kConflict && !file.empty() ? Exit::kChanged : shown;
  }
  return cli.show(*out, [&](const json& applied) {
    for (const json& step : applied.at("steps")) fmt::print("  done  {}\n", step.value("what", ""));
    fmt::print("Applied. No traffic and no data has moved.\nNext: {}\n", next_after_apply(cli));
  });
}

constexpr const char* kSections =
    "docs schema    the JSON Schema of banyan.yaml\n"
    "docs exit      the exit codes\n"
    "docs states    the states of a migration\n";

constexpr const char* kExitCodes =
    "0 ok or no change\n1 error\n2 changes pending (plan)\n3 precondition failed\n"
    "4 confirmation missing\n5 the world changed since the plan\n6 policy gate\n"
    "7 aborted and rolled back\n8 inconclusive\n";

constexpr const char* kStates =
    "DRAFT > ASSESSED > ADOPTED > COPYING > FOLLOWING > VERIFIED > READY\n"
    "READY --switch--> FENCING > SWITCHED --reverse--> FENCING > REVERSED --switch--> ...\n"
    "SWITCHED --complete--> COMPLETED     before SWITCHED --cancel--> CANCELLED\n"
    "A failure while FENCING ends where it began: the old side serves, exit 7.\n";

Exit docs(const Cli& cli, const std::string& section) {
  const std::map<std::string, std::string> sections = {{"", kSections},
                                                       {"schema", spec::json_schema() + "\n"},
                                                       {"exit", kExitCodes},
                                                       {"states", kStates}};
  const auto found = sections.find(section);
  if (found == sections.end())
    return cli.show(
        Error(Code::kNotFound, "there is no section " + section).with_remedy("banyan docs"));
  return cli.show(json{{"section", section}, {"text", found->second}},
                  [&](const json&) { fmt::print("{}", found->second); });
}

// Completes verbs and their flags from the help texts, so that it is right for every version.
constexpr const char* kBashCompletion = R"sh(# eval "$(banyan completion bash)"
_banyan() {
  local words=() word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) words+=("$word") ;; esac
  done
  local help
  help=$(banyan "${words[@]}" --help 2>/dev/null) || help=$(banyan --help 2>/dev/null)
  COMPREPLY=($(compgen -W "$(printf '%s\n' "$help" | sed -n \
    -e 's/^  \([a-z][a-z-]*\)  .*/\1/p' -e 's/^  -[A-Za-z],\(--[a-z-]*\).*/\1/p' \
    -e 's/^  \(--[a-z-]*\).*/\1/p')" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _banyan banyan
)sh";

Exit completion(const Cli& cli, const std::string& shell) {
  if (shell == "bash") {
    fmt::print("{}", kBashCompletion);
    return Exit::kOk;
  }
  return cli.show(Error(Code::kUnsupported, "no completion for " + shell)
                      .with_remedy("banyan completion bash"));
}

void add_plan_and_apply(CLI::App& app, Cli& cli) {
  auto* plan_verb =
      app.add_subcommand("plan", "what apply would do; exit 2 when something is pending");
  auto* save_to = plan_verb->add_option("-o,--out", "save the plan to a file");
  plan_verb->callback([&cli, save_to] { cli.exit = plan(cli, save_to->as<std::string>()); });
  auto* apply_verb = app.add_subcommand("apply", "create what the spec declares; moves no traffic");
  auto* file =
      apply_verb->add_option("FILE", "a plan saved with plan -o: exactly that one is applied");
  apply_verb->callback([&cli, file] { cli.exit = apply_spec(cli, file->as<std::string>()); });
}

}  // namespace

void add_declare_verbs(CLI::App& app, Cli& cli) {
  app.add_subcommand("validate", "check the spec; all problems at once")->callback([&cli] {
    cli.exit = validate(cli);
  });
  app.add_subcommand("assess",
                     "what stops this application from running as several copies elsewhere")
      ->callback([&cli] { cli.exit = assess(cli); });
  add_plan_and_apply(app, cli);
  auto* explain_verb = app.add_subcommand("explain", "what an error code means: explain BY-0312");
  auto* code = explain_verb->add_option("CODE", "as printed with the error")->required();
  explain_verb->callback([&cli, code] { cli.exit = explain(cli, code->as<std::string>()); });
  auto* completion_verb =
      app.add_subcommand("completion", "a script for the shell: completion bash");
  auto* shell = completion_verb->add_option("SHELL", "bash")->required();
  completion_verb->callback(
      [&cli, shell] { cli.exit = completion(cli, shell->as<std::string>()); });
  auto* docs_verb = app.add_subcommand("docs", "offline documentation: schema, exit, states");
  auto* section = docs_verb->add_option("SECTION", "schema, exit or states");
  docs_verb->callback([&cli, section] { cli.exit = docs(cli, section->as<std::string>()); });
}

}  // namespace banyan
