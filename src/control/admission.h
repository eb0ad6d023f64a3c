#pragma once
// Admission: what `migrate create` insists on before anything is copied: no finding of the
// databases' preflight with severity "must" is open, and the gateway is proven to change nothing.
// A person may accept single findings by id, deliberately; what was accepted stays visible.

#include <set>
#include <string>

#include "control/project.h"

namespace banyan::control {

// The finding that the gateway in front was not proven to change nothing.
inline constexpr std::string_view kUnprovenGateway = "gateway.unproven";

// What crosses the border of a split. `asked`: {role?, must_be_decided?}.
Result<nlohmann::json> ask_split_plan(const Project& project, const spec::Spec& spec,
                                      const spec::Migration& migration, nlohmann::json asked);

// What the replicator's preflight says of a migration's databases: {checks: [..]}; no checks when
// it moves none.
Result<nlohmann::json> database_preflight(const Project& project, const spec::Spec& spec,
                                          const spec::Migration& migration);

struct Admission {
  nlohmann::json adoption;                            // adoption.h; null: it moves no route
  nlohmann::json open = nlohmann::json::array();      // [{id, title, detail, fix_sql}]
  nlohmann::json accepted = nlohmann::json::array();  // the same, of what was accepted
  bool is_granted() const { return open.empty(); }
};

// Fails only when the replicator does not answer; everything else is a finding.
Result<Admission> examine(const Project& project, const spec::Spec& spec,
                          const spec::Migration& migration, const std::set<std::string>& accept);

}  // namespace banyan::control
