#pragma once
// Routing: the gateway's snapshot, computed from the spec, the instances that run, and which side
// each migration is on. Pure; the shape of the JSON is the gateway's `snapshot.put`.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "migration/ports.h"
#include "spec/spec.h"

namespace banyan::control {

// Side each migration's routes are on; a migration not named is on the old side.
using Sides = std::map<std::string, migration::Side>;

// `fleet` is the agent's `fleet.status`.
nlohmann::json route_snapshot(const spec::Spec& spec, const nlohmann::json& fleet,
                              const Sides& sides, std::int64_t epoch);

}  // namespace banyan::control
