#pragma once
// One entry of `routes:`, and what else traffic.h says, read from its mapping. What it names is
// checked later (references.h).

#include "spec/reader.h"
#include "spec/spec.h"

namespace banyan::spec {

Route read_route(Reader& reader);
Health read_health(Reader& reader);
Traffic read_traffic(Reader& reader);
Limits read_limits(Reader& reader);

}  // namespace banyan::spec
