#pragma once
// Preflight's questions about a mapping: whether the catalogs have what it names, whether its
// conditions are SQL that the server can filter by, and what of it could not go back after the
// switch. Nothing without a mapping.

#include <vector>

#include "planes/replication/mapping.h"
#include "planes/replication/preflight.h"

namespace banyan::replication {

// Every check, in a fixed order. `tables` are those of the source that move; empty: all.
std::vector<Finding> mapping_checks(pg::Connection& source, pg::Connection& target,
                                    const TableNames& tables, const Mapping& mapping);

}  // namespace banyan::replication
