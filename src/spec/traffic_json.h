#pragma once
// traffic.h as JSON, for the snapshot between control and gateway. What is not set is left out.

#include <nlohmann/json.hpp>

#include "spec/json_reader.h"
#include "spec/traffic.h"

namespace banyan::spec {

// Adds the members to `out`; reads them from `in`, whose other members are the caller's.
void write(const RouteRules& rules, nlohmann::json& out);
void read(JsonReader& in, RouteRules& rules);
void write(const Health& health, nlohmann::json& out);
void read(JsonReader& in, Health& health);
void write(const Traffic& traffic, nlohmann::json& out);
void read(JsonReader& in, Traffic& traffic);
void write(const Limits& limits, nlohmann::json& out);
void read(JsonReader& in, Limits& limits);

}  // namespace banyan::spec
