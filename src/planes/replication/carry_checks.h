#pragma once
// Preflight's questions about what a migration carries besides rows: what cannot be carried, or not
// by our role on the target, is named before anything starts.

#include <vector>

#include "planes/replication/preflight.h"

namespace banyan::replication {

// Every check, in a fixed order. A question that cannot be asked is a finding.
std::vector<Finding> carry_checks(pg::Connection& source, pg::Connection& target,
                                  const TableNames& tables);

}  // namespace banyan::replication
