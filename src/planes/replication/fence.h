#pragma once
// Fence: the triggers that close what moves out of a side for everybody but us.
//
//   a table that moves whole    banyan_fence           before every statement that writes, TRUNCATE
//                                                      included, also one that meets no row
//   one of which some rows do   banyan_fence NAME new  after a row became one of them
//   (a slice), on the side      banyan_fence NAME old  after a row that was one of them was written
//   they come from              banyan_fence NAME all  before TRUNCATE, which tells of no rows
//
// All call banyan.fence(), which raises 25006 unless the session knows the secret: `pass_fence`
// sets banyan.apply to the nonce. The nonce is not in the function's source (which everyone may
// read) but in a table of its owner, read by the function as SECURITY DEFINER. A session that
// opened its snapshot before the nonce existed is refused, never let through. So our apply sessions
// need no role of their own and no session_replication_role, and pass ALWAYS triggers too.
//
// A slice's condition is a function over the columns that it names, which the server inlines into
// the triggers' WHEN: rows outside cost its evaluation and nothing else. Triggers of rows fire
// after the write, when no other trigger can change the row any more. The names hold the migration,
// so several slices of one table have their own. Needs 15, as a condition's stream does.

#include "planes/replication/mapping.h"

namespace banyan::replication {

// How the fence triggers of a side stand.
enum class FenceMode : std::uint8_t {
  kDisabled,  // applications write here
  kEnabled,   // fires for ordinary sessions: the passive side before its first opening
  kAlways,    // fires for replica-role sessions too: a side that was active
};

// Lets this session write fenced tables of this side (SET for the session, not the transaction).
Result<void> pass_fence(pg::Connection& db, const std::string& migration);

// Brings the fence of what moves out of this side, by `out`, into `mode`, creating what is missing.
// Inside the caller's transaction.
Result<void> set_fence(pg::Connection& db, const std::string& migration, const Direction& out,
                       FenceMode mode);

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
