#pragma once
// SplitEnds: what is done to both databases at the ends of a split: the service's own role in the
// new one, and the closing of what was left in the old one.

#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// A role that may use the moved tables, read the copies, and nothing else.
struct ServiceRole {
  std::string name;
  std::string password;  // empty: it is given none. Only its verifier is sent, never logged
};

// The statements that make the role, for people; without a password. Run again, they do nothing.
std::string service_role_sql(const std::vector<FencedTable>& tables,
                             const std::vector<FencedTable>& copies, const std::string& role);

// kPermission, with the statements, when our role may not create roles.
Result<void> make_service_role(pg::Connection& target, const TableNames& tables,
                               const TableNames& copies, const ServiceRole& role);

// After a split is complete, on the side that was left: drops the foreign keys between the moved
// tables and others, and takes every right on the moved ones from everybody, owners included, so
// that a forgotten reader fails instead of reading what is old. One transaction.
Result<void> close_moved(pg::Connection& db, const TableNames& tables);

}  // namespace banyan::replication
