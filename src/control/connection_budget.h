#pragma once
// Connection budget: how many database connections the declared services can open at most, against
// what the database allows. Counted from the command line of the usual servers; a guess by design,
// so it warns and never refuses.

#include <string>
#include <string_view>

#include "control/assessment.h"
#include "spec/spec.h"

namespace banyan::control {

// Kept free for the operator, replication and Banyan itself.
inline constexpr int kReservedConnections = 20;

// Concurrent requests one copy serves, each with a connection of its own:
// "gunicorn -w 2 --threads 8" → 16. 1 when the command says nothing.
int connections_per_instance(std::string_view command);

// Adds an item when the services bound to `database` may need more than `max_connections`.
void check_connection_budget(const spec::Spec& spec, const std::string& database,
                             int max_connections, Items& items);

}  // namespace banyan::control
