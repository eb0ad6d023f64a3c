// What crosses the border of a split.

#include <fmt/format.h>

#include <utility>

#include "app/cli.h"
#include "app/views.h"

namespace banyan {

using nlohmann::json;

namespace {

// What the decisions come to.
void print_terms(const json& out) {
  fmt::print("\n");
  print_names("moves", out.value("tables", json::array()));
  print_names("copied, read-only", out.value("copies", json::array()));
  print_names("left out", out.value("left_out", json::array()));
}

// Lines for the spec.
void print_undecided(const json& crossings) {
  bool is_first = true;
  for (const json& crossing : crossings) {
    const std::string kind = crossing.value("kind", "");
    if (kind == "query" || !crossing.value("decided", "").empty()) continue;
    if (std::exchange(is_first, false))
      fmt::print("\nNot decided yet. In banyan.yaml, under move.database:\n  decisions:\n");
    std::string ways;
    for (const json& way : crossing.at("decisions"))
      ways += (ways.empty() ? "" : " | ") + way.value("decision", "");
    fmt::print("    \"{} {}\": {}\n", kind, crossing.value("object", ""), ways);
  }
}

}  // namespace

void print_split(const json& out) {
  const json crossings = out.value("crossings", json::array());
  if (crossings.empty()) fmt::print("Nothing crosses the border of these tables.\n");
  for (const json& crossing : crossings) {
    fmt::print("{} {}\n  {}\n", crossing.value("kind", ""), crossing.value("object", ""),
               crossing.value("detail", ""));
    int number = 0;
    const std::string decided = crossing.value("decided", "");
    for (const json& way : crossing.value("decisions", json::array())) {
      const std::string decision = way.value("decision", "");
      fmt::print("  {}{}. {}: {}\n", decision == decided ? "=> " : "   ", ++number, decision,
                 way.value("does", ""));
    }
  }
  print_terms(out);
  print_undecided(crossings);
  if (const std::string role = out.value("role_sql", ""); !role.empty()) {
    fmt::print("\nFor the new database, after create:\n{}", role);
  }
}

}  // namespace banyan
