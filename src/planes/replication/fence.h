#pragma once
// Fence: the triggers that close what moves out of a side for everybody but us.
//
//   a table that moves whole    banyan_fence           before every statement that writes, TRUNCATE
//                                                      included, also one that meets no row
//   one of which some rows do   banyan_fence NAME new  after a row became one of them
//   (a slice), on the side      banyan_fence NAME old  after a row that was one of them was written
//   they come from              banyan_fence NAME all  before TRUNCATE, which tells of no rows
//
// All ask the gate of their migration: an empty table with one trigger, which raises 25006 while it
// is closed. They delete nothing from it, and hold its lock for that until their transaction ends.
// So the fences are armed table by table before the pause, each waiting for the writers of its
// table, and the pause closes one table, however many there are: that waits for all who passed it
// and did not end. What is closed is read from the table's definition, never by a snapshot.
//
// A session passes that knows the secret: `pass_fence` sets banyan.apply to the nonce. It is not in
// a function's source (which everyone may read) but in a table of its owner, read as SECURITY
// DEFINER. A session that opened its snapshot before the nonce existed is refused, never let
// through. So our apply sessions need no role of their own and no session_replication_role, and
// pass ALWAYS triggers too.
//
// A slice's condition is a function over the columns that it names, which the server inlines into
// the triggers' WHEN: rows outside cost its evaluation and nothing else. Triggers of rows fire
// after the write, when no other trigger can change the row any more. The names hold the migration,
// so several slices of one table have their own. Needs 15, as a condition's stream does.

#include "base/clock.h"
#include "planes/replication/mapping.h"

namespace banyan::replication {

// How the fence of a table stands. It fires for replica-role sessions too.
enum class FenceMode : std::uint8_t {
  kDisarmed,  // anybody writes
  kArmed,     // who may write is the gate's to say
  kCopy,      // nobody may, whatever the gate says: a copy that is only read here
};

enum class Gate : std::uint8_t { kOpen, kClosed };

// Lets this session write fenced tables of this side (SET for the session, not the transaction).
Result<void> pass_fence(pg::Connection& db, const std::string& migration);

// Whether a lock was not got in time, or a deadlock was ended: then it may be tried again.
bool is_lock_trouble(const Error& error);

// Inside the caller's transaction. Closing waits for all who wrote through an armed fence.
Result<void> set_gate(pg::Connection& db, const std::string& migration, Gate gate);

// Arms the fences of what moves out of this side, by `out`, creating what is missing. Inside the
// caller's transaction.
Result<void> arm_fences(pg::Connection& db, const std::string& migration, const Direction& out);

// Brings them into `mode`, each table in a transaction of its own: it waits up to `lock_timeout`
// for the writers of the table, while others wait behind it. How many do not stand so yet; a table
// that was not free does not keep it from the next.
struct Patience {
  Duration lock_timeout;
  Mono until;
};
Result<std::size_t> set_fences_one_by_one(pg::Connection& db, const std::string& migration,
                                          const Direction& out, FenceMode mode,
                                          const Patience& patience);

// Creates missing triggers, in `mode`, leaving existing ones as they are. Own transaction.
Result<void> add_missing_fences(pg::Connection& db, const std::string& migration,
                                const Direction& out, FenceMode mode);

// Drops what this migration has of a fence on these tables.
Result<void> drop_fences(pg::Connection& db, const std::string& migration,
                         const TableNames& tables);

// "create function NAME(...) returns boolean": whether a row with these columns meets `where`.
struct Column;
std::string row_test_sql(const std::string& name, const std::vector<Column>& columns,
                         const std::string& where);

}  // namespace banyan::replication
