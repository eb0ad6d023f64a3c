#pragma once
// Cross-references of a Spec: completes what follows from the rest ("move all files" to the only
// bucket) and reports what names something that does not exist or does not fit together.

#include <string_view>

#include "spec/problem.h"
#include "spec/spec.h"

namespace banyan::spec {

// Stands in Migration::routes for every route until settle_references() has listed them.
inline constexpr std::string_view kAllRoutes = "*all*";

void settle_references(Spec& spec, Problems& problems);

}  // namespace banyan::spec
