#pragma once
// Parts of a spec as YAML, in flow style on one line: what load_spec reads back as the same value.

#include <string>

#include "spec/spec.h"

namespace banyan::spec {

std::string yaml_of(const Route& route);
// Of a service whose copies run elsewhere.
std::string yaml_of(const Service& service);

}  // namespace banyan::spec
