#pragma once
// assess: what stops this application from running as several copies elsewhere? Looks at its code,
// its process, its files, its database's outline and its health endpoint; changes nothing.
//
// Gives {app, code, files, database, health, items, summary: {must, config, optional}}. What cannot
// be looked at becomes an item, not a failure. Blocking, usually under a second; never prints a
// secret. The database is examined in depth by the replicator's preflight.

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "spec/spec.h"

namespace banyan::control {

// Fails only when the spec declares no source.
Result<nlohmann::json> assess(const spec::Spec& spec);

}  // namespace banyan::control
