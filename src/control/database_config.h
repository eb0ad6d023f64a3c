#pragma once
// What the role replicate is told of a migration: the `config` of its verbs start, preflight and
// plan_split, with the addresses resolved. Holds passwords.

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "spec/spec.h"

namespace banyan::control {

// The migration moves a database.
Result<nlohmann::json> database_config(const spec::Spec& spec, const spec::Migration& migration);

}  // namespace banyan::control
