#include "control/admission.h"

#include <fmt/format.h>

#include "control/adoption.h"
#include "control/database_config.h"

namespace banyan::control {
namespace {

using nlohmann::json;

constexpr Duration kPreflightPatience = 60s;

std::string told(const json& adoption) {
  std::string text = fmt::format("{} of {} requests compared equal", adoption.value("equal", 0),
                                 adoption.value("wanted", 0));
  for (const char* list : {"different", "moving"})
    for (const json& one : adoption.at(list))
      for (const json& what : one.at("what"))
        text += fmt::format("\n{}: {}", one.value("path", ""), what.get<std::string>());
  return text;
}

// Null when the gateway is proven.
json gateway_finding(const Result<json>& adoption) {
  if (adoption && is_proven(*adoption)) return {};
  return {{"id", kUnprovenGateway},
          {"title", "The gateway in front changes nothing"},
          {"detail", adoption ? told(*adoption) : adoption.error().message()},
          {"fix_sql", ""}};
}

// What cannot be gone on with: the move would write into what it moves.
constexpr std::string_view kNeverAccepted = "target.is_other";

void judge(Admission& admission, json finding, const std::set<std::string>& accept) {
  const auto id = finding.value("id", "");
  finding["acceptable"] = id != kNeverAccepted;
  const bool accepted = finding["acceptable"] && accept.contains(id);
  (accepted ? admission.accepted : admission.open).push_back(std::move(finding));
}

}  // namespace

Result<json> ask_split_plan(const Project& project, const spec::Spec& spec,
                            const spec::Migration& migration, json asked) {
  asked["name"] = migration.name;
  TRY(asked["config"], database_config(spec, migration));
  return project.replicate().call("plan_split", asked, kPreflightPatience);
}

Result<json> database_preflight(const Project& project, const spec::Spec& spec,
                                const spec::Migration& migration) {
  if (!migration.database || !spec.source || !spec.source->database)
    return json{{"checks", json::array()}};
  TRY(const json config, database_config(spec, migration));
  return project.replicate().call("preflight", {{"name", migration.name}, {"config", config}},
                                  kPreflightPatience);
}

Result<Admission> examine(const Project& project, const spec::Spec& spec,
                          const spec::Migration& migration, const std::set<std::string>& accept) {
  Admission admission;
  if (migration.database && !migration.database->tables.empty()) {
    TRY_VOID(ask_split_plan(project, spec, migration, {{"must_be_decided", true}}));
  }
  TRY(const json preflight, database_preflight(project, spec, migration));
  for (const json& check : preflight.at("checks")) {
    if (check.value("ok", true) || check.value("severity", "") != "must") continue;
    judge(admission,
          {{"id", check.value("id", "")},
           {"title", check.value("title", "")},
           {"detail", check.value("detail", "")},
           {"fix_sql", check.value("fix_sql", "")}},
          accept);
  }
  if (migration.routes.empty() || !spec.source) return admission;
  const auto adoption = compare_through_gateway(spec, migration);
  if (adoption) admission.adoption = *adoption;
  if (json finding = gateway_finding(adoption); !finding.is_null())
    judge(admission, std::move(finding), accept);
  return admission;
}

}  // namespace banyan::control
