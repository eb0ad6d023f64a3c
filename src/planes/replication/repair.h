#pragma once
// Repair: makes the passive side's rows those of the active side, where they differ.
//
//   live      the stream runs: `verify` names the differing rows; then the stream stands at a
//             consistent point for the moment in which exactly these are read and written anew
//   standing  the stream cannot go on (its slot is lost, a row it needs is missing, the source was
//             failed over): everything is compared with the snapshot of a new slot, from whose
//             point the stream will follow; nothing is copied that is there already
//
// All of it is one transaction of the passive side, marked as ours, and committed only after the
// rows read there are those of the active side. A table without a key, or with too many
// differences, is copied as a whole. Needs the right to set session_replication_role: triggers and
// foreign keys must not act on what is carried over.

#include <string>
#include <vector>

#include "planes/replication/verifier.h"

namespace banyan::replication {

struct RepairPlan {
  VerifierOptions verifier;
  std::string migration;
  std::string stream;  // that flows from the active side to the passive one
  std::string only;    // "schema.table" as verify names it; empty: every table
};

struct TableRepair {
  std::string table;        // on the active side
  std::string table_there;  // on the passive side
  std::int64_t written = 0;
  std::int64_t removed = 0;
  bool is_whole = false;  // copied anew
};
using RepairReport = std::vector<TableRepair>;

// What would be repaired: the tables that differ, with all of their differences that fit.
Result<Verdict> find_differences(const RepairPlan& plan);

Result<RepairReport> repair_live(const RepairPlan& plan, const Verdict& found);
// `snapshot` is exported on the active side; nothing else may write to the passive side meanwhile.
Result<RepairReport> repair_standing(const RepairPlan& plan, const std::string& snapshot);

}  // namespace banyan::replication
