#pragma once
// Looks a request up in an access log, from its end.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace banyan::gateway {

// The newest ten lines whose `id` or `trace` is `id`, newest first. Reads at most the last 256 MB.
// kNotFound when there is none.
Result<std::vector<nlohmann::json>> find_in_access_log(const std::string& path,
                                                       const std::string& id);

}  // namespace banyan::gateway
