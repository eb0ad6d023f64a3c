#pragma once
// Adoption: proves that the gateway in front of the old application changes nothing: real GET
// requests, each asked directly, through the gateway, and directly again, compared answer by answer
// (response_diff.h). The gateway's addresses are asked in turn, with and without TLS; not those
// that redirect or want a client's certificate. Unauthenticated; the paths are the spec's, the
// health check's, and those learned from the access log.

#include <nlohmann/json.hpp>

#include "control/project.h"

namespace banyan::control {

// {wanted, compared, equal, paths: [..], different: [{path, what: [..]}], moving: [{path, why}]}.
// `compared` counts requests whose answers could be compared; a path that differs is asked again
// twice before it counts as different. Takes at most 40 s. Fails only when the old application or
// the gateway cannot be asked at all.
Result<nlohmann::json> compare_through_gateway(const spec::Spec& spec,
                                               const spec::Migration& migration);
bool is_proven(const nlohmann::json& adoption);

}  // namespace banyan::control
