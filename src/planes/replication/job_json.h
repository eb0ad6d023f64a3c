#pragma once
// What a job's verbs tell their caller.

#include <nlohmann/json.hpp>

#include "planes/replication/act.h"
#include "planes/replication/repair.h"
#include "planes/replication/verifier.h"

namespace banyan::replication {

// At most 20 differences of each table, with both versions.
nlohmann::json to_json(const TableVerdict& table);
nlohmann::json to_json(const Verdict& verdict);
nlohmann::json to_json(const RepairReport& report);
nlohmann::json to_json(const Standing& standing);

}  // namespace banyan::replication
