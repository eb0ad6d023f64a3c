#pragma once
// Planner: what `apply` would do: diff of the spec and what is observed, as ordered steps with
// their risk and undo. Declarative things only; it never moves traffic or data.
//
// The plan has a hash over the wanted state and over what was observed: `apply` of a saved plan
// refuses when either changed (exit 5).

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/project.h"
#include "control/records.h"

namespace banyan::control {

struct PlanStep {
  std::string what;  // "create database main"
  std::string why;   // "it does not exist"
  std::string risk;  // "safe" | "restart"
  std::string undo;
};

struct ChangePlan {
  std::vector<PlanStep> steps;
  std::string hash;
  nlohmann::json fleet;  // for the agent's fleet.apply
};

// Observes the databases, the fleet and the gateway, and compares.
Result<ChangePlan> make_plan(const Project& project, const spec::Spec& spec, Records& records);
// Carries it out; idempotent, so an interrupted apply is simply applied again.
Result<void> apply_plan(const Project& project, const spec::Spec& spec, Records& records,
                        const ChangePlan& plan);

nlohmann::json to_json(const ChangePlan& plan);

}  // namespace banyan::control
