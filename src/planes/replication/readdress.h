#pragma once
// A migration goes on under other addresses of its two databases: a password was changed, a standby
// took over. Only where both are the same databases as before, told by their arbiter rows; the slot
// and its timeline are compared at the next connection (receiver.h).

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"

namespace banyan::replication {

// `stored` with the addresses of `wanted`; nothing when they are as they were. kConflict when one
// leads to a database that the migration does not know.
Result<std::optional<nlohmann::json>> readdressed(const std::string& migration,
                                                  const nlohmann::json& stored,
                                                  const nlohmann::json& wanted);

}  // namespace banyan::replication
