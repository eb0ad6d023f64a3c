#include "control/admission.h"

#include <fmt/format.h>

#include "control/adoption.h"

namespace banyan::control {
namespace {

using nlohmann::json;

constexpr Duration kPreflightPatience = 60s;

json database_config(const spec::Migration& migration, const std::string& source,
                     const std::string& target) {
  const auto& tables = migration.database->tables;
  return {{"source", source},
          {"target", target},
          {"tables", tables.empty() ? json("all") : json(tables)}};
}

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

void judge(Admission& admission, json finding, const std::set<std::string>& accept) {
  const bool accepted = accept.contains(finding.value("id", ""));
  (accepted ? admission.accepted : admission.open).push_back(std::move(finding));
}

}  // namespace

Result<json> database_preflight(const Project& project, const spec::Spec& spec,
                                const spec::Migration& migration) {
  if (!migration.database || !spec.source || !spec.source->database)
    return json{{"checks", json::array()}};
  TRY(const auto source, spec::resolve(spec, spec.source->database->url));
  TRY(const auto target, spec::resolve(spec, spec.databases.at(migration.database->to).url));
  return project.replicate().call(
      "preflight",
      {{"name", migration.name}, {"config", database_config(migration, source, target)}},
      kPreflightPatience);
}

Result<Admission> examine(const Project& project, const spec::Spec& spec,
                          const spec::Migration& migration, const std::set<std::string>& accept) {
  Admission admission;
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
