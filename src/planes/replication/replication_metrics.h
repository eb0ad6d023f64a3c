#pragma once
// What GET /metrics of the role tells, drawn from the migrations' statuses. A migration has no
// sample of what its status does not say (nothing is followed yet, a server does not answer).

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace banyan::replication {

// `statuses`: by migration, the answers of the verb `status`.
std::string metrics_text(const std::map<std::string, nlohmann::json>& statuses);

}  // namespace banyan::replication
