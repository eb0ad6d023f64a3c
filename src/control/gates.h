#pragma once
// Gates: what must hold before an act, each with its present value, from the roles' own reports.

#include <nlohmann/json.hpp>
#include <vector>

#include "control/project.h"
#include "control/records.h"
#include "migration/state.h"

namespace banyan::control {

// Everything the roles say about one migration right now. A role that does not answer leaves
// {"error": "..."} in its place.
struct Sight {
  std::vector<std::pair<std::string, nlohmann::json>> gateways;  // by name
  nlohmann::json database;
  nlohmann::json fleet;
  nlohmann::json sessions;
  std::vector<std::pair<std::string, nlohmann::json>> files;  // by name
};

Sight look(const Project& project, const spec::Migration& migration);

std::vector<migration::Gate> gates_for(const spec::Spec& spec, const spec::Migration& migration,
                                       const Sight& sight, const MigrationRecord& record,
                                       migration::Side to, Wall now);

migration::Parts parts_of(const Sight& sight, const MigrationRecord& record, Wall now);

nlohmann::json gates_json(const std::vector<migration::Gate>& gates);

}  // namespace banyan::control
