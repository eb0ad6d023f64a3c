#pragma once
// SplitPlan: what crosses the border when some tables of a database move out into one of their own,
// each with the ways to decide. Reads catalogs (and pg_stat_statements when it is there); decides
// and changes nothing, but for close_moved.
//
//   foreign_key   between a table that moves and one that stays
//   view          that reads a moved table
//   function      whose text names a moved table (found by name: dynamic SQL may hide others)
//   trigger       on one side, running a function that names the other
//   policy        of a moved table, naming a table that stays
//   sequence      that a moved table uses and another one owns or uses too
//   query         that named both sides (pg_stat_statements)

#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// One way to go on. `sql` is for the old database unless `does` says otherwise; may be empty.
struct SplitDecision {
  std::string decision;  // move_too, application_check, recreate, rewrite
  std::string does;
  std::string sql;
};

struct Crossing {
  std::string kind;
  std::string object;
  std::string detail;
  std::vector<SplitDecision> decisions;
};

struct SplitPlan {
  std::vector<Crossing> crossings;
  std::string role_sql;  // for the new database: a role that may use these tables and no others
};

Result<SplitPlan> plan_split(pg::Connection& source, const TableNames& tables,
                             const std::string& service_role);

// After a split is complete, on the side that was left: takes every right on the moved tables from
// everybody, owners included, so that a forgotten reader fails instead of reading what is old.
Result<void> close_moved(pg::Connection& db, const TableNames& tables);

}  // namespace banyan::replication
