#pragma once
// MadeObjects: what Banyan itself created in the new database, so that a cancelled migration can
// take exactly that away again.
//
// The objects are noted by oid (banyan.made) in the transaction that creates them: those whose
// catalog rows this transaction wrote and that were not there before. Nothing else is ever dropped,
// and nothing that others depend on (RESTRICT). A table stays, with a reason, when somebody else
// may have written to it: its fence is gone or off while it has rows, or the new side has served.

#include <string>
#include <vector>

#include "base/error.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// Statements to run before and after those that create, in one transaction with them.
std::string begin_noting_sql();
std::string end_noting_sql(const std::string& migration);

// Notes every large object there is: after they were made those of the other side.
Result<void> note_large_objects(pg::Connection& target, const std::string& migration);

struct KeptObject {
  std::string name;  // "table public.orders"
  std::string why;
};

struct MadeReport {
  std::vector<std::string> dropped;
  std::vector<KeptObject> kept;
};

// With what joined later. Idempotent; before the fence triggers are dropped. Waits at most 5 s for
// a lock.
Result<MadeReport> drop_made_objects(pg::Connection& target, const std::string& migration);

}  // namespace banyan::replication
