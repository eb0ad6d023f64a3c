#pragma once
// SchemaMapping: gives the restored tables of a mapping their shape of the new side.
//
// pg_dump speaks in the names of the old side. Right after the tables are made (in the same
// transaction) they get the mapping's names and lose what is left out. What is restored onto them
// later (indexes, constraints, triggers) finds them under their old names: renamed back, and
// forward again, inside the transaction of each such item.
//
// A mapped table that the new side has already when the schema is read is used as it is: with other
// partitions, other types. It is left out of the dump; its indexes and constraints are its owner's.
//
// A table with a condition gets the constraint `banyan_rows` on the new side for as long as the
// migration lives: a row that is written there outside the condition could not go back. Pure SQL
// texts; nothing is remembered.

#include <string>
#include <vector>

#include "planes/replication/mapping.h"

namespace banyan::replication {

// Those of the mapping's tables that are not on `target` under their names there.
Result<std::vector<TableMapping>> absent_there(pg::Connection& target, const Mapping& mapping);

// From what the dump made to what the mapping says; once.
std::string shape_sql(const std::vector<TableMapping>& tables);

// The item's SQL with the tables that its text names as the dump knows them, and back.
std::string under_old_names(const std::vector<TableMapping>& tables, const std::string& sql);

// Takes the constraints away again.
Result<void> drop_row_constraints(pg::Connection& target, const Mapping& mapping);

}  // namespace banyan::replication
