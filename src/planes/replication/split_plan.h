#pragma once
// SplitPlan: what crosses the border when some tables of a database move out into one of their own,
// each with the ways to decide, and what the decisions come to. Reads catalogs (and
// pg_stat_statements when it is there); changes nothing.
//
//   foreign_key   between a table that moves and one that stays
//   view          that reads a moved table
//   function      whose text names a moved table (found by name: dynamic SQL may hide others)
//   trigger       on one side, running a function that names the other
//   policy        of a moved table, naming a table that stays
//   sequence      that a moved table uses and another one owns or uses too
//   query         that named both sides (pg_stat_statements); told only, nothing waits for it
//
// Ways that Banyan carries out: the tables of the other side move as well; they are copied and
// followed for ever, read-only; or the object is left out of the new database. Every other way is a
// person's work and is told with its statement.

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

inline constexpr const char* kMoveTooWay = "move_too";
inline constexpr const char* kCopyWay = "read_only_copy";
inline constexpr const char* kLeaveOutWay = "application_check";

// One way to go on. `sql` is for the old database unless `does` says otherwise; may be empty.
struct SplitDecision {
  std::string decision;
  std::string does;
  std::string sql;
};

struct Crossing {
  std::string kind;
  std::string object;
  std::string detail;
  std::vector<SplitDecision> decisions;
  std::string dumped_as;  // "FK CONSTRAINT public.orders orders_buyer_fkey"; empty: is not dumped
  TableNames others;      // tables of the other side
  std::string decided{};  // one of the decisions, or empty

  // What a decision is written under in the spec: "foreign_key orders_buyer_fkey of public.orders".
  std::string name() const { return kind + " " + object; }
  bool needs_decision() const { return kind != "query"; }
};

Result<std::vector<Crossing>> find_crossings(pg::Connection& source, const TableNames& tables);

// By Crossing::name(), or "KIND *" for all others of a kind.
using SplitDecisions = std::map<std::string, std::string>;

struct SplitPlan {
  TableNames tables;                  // that move, with those that move too
  TableNames copies;                  // that stay and are copied
  std::vector<std::string> left_out;  // of the new database, as Crossing::dumped_as
  std::vector<Crossing> crossings;    // of `tables`
};

// Repeats the search until the tables that move too bring nothing new. Fails with kInvalidArgument
// for a decision that a crossing does not offer; one without a decision stays undecided.
Result<SplitPlan> plan_split(pg::Connection& source, const TableNames& tables,
                             const SplitDecisions& decisions);

// kConflict with the ways out while a crossing has no decision.
Result<void> require_decisions(const SplitPlan& plan);

}  // namespace banyan::replication
