#pragma once
// What a source's logical log never says: large objects and the rows of unlogged tables. They are
// compared and carried inside the pause of a switch, when nothing is written any more, so both are
// limited: what is above the limits is refused by preflight, before anything starts.
//
// Large objects belong to no table: nothing fences them. An application that goes on writing them
// through sessions of its own past the fence is not stopped.

#include <cstdint>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

constexpr std::int64_t kLargeObjectBytesMax = 200LL << 20;
constexpr std::int64_t kUnloggedBytesMax = 64LL << 20;

// COPY of one session into another, counted on both ends.
Result<void> copy_through(pg::Connection& from, pg::Connection& to, const std::string& out_sql,
                          const std::string& in_sql);

struct CarriedObjects {
  std::size_t count = 0;    // on the active side
  std::size_t changed = 0;  // written or removed on the passive side
};

// Makes the passive side's large objects equal to the active side's: those whose md5 differs are
// written anew, with owner, grants and comment where permitted; those that are gone are removed.
Result<CarriedObjects> carry_large_objects(pg::Connection& active, pg::Connection& passive);

// Replaces the rows of every unlogged table among `tables`, in the caller's transaction on the
// passive side, whose session passes the fence.
Result<CarriedObjects> carry_unlogged(pg::Connection& active, pg::Connection& passive,
                                      const TableNames& tables);

}  // namespace banyan::replication
