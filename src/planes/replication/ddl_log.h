#pragma once
// The log of schema changes: statements in banyan.ddl_log of a followed side, written by event
// triggers in the transaction that makes the change, and published. So the stream brings each at
// its exact place, with the shape in which it left the table, read from the catalogs at that
// moment. Needs a superuser there: only such a role may create event triggers.
// https://www.postgresql.org/docs/current/event-triggers.html

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "wire/pg/connection.h"
#include "wire/pg/lsn.h"

namespace banyan::replication {

// What happens when the schema of the followed side changes.
//   stop        the migration stops and says what to do
//   freeze      such statements fail on the source (an event trigger: needs a superuser)
//   apply_safe  what can be repeated is repeated; the rest stops the migration
enum class DdlPolicy : std::uint8_t { kStop, kFreeze, kApplySafe };
Result<DdlPolicy> parse_ddl_policy(std::string_view name);

// What one statement did to one object. A statement has several of them when it did more.
struct DdlEntry {
  std::string at;
  std::string who;
  std::string application;
  std::string tag;        // ALTER TABLE
  std::string object;     // as the server calls it
  std::string statement;  // what the session sent, cut to 4000 characters
  std::string relation;   // the table whose rows it concerns, quoted; empty: none
  std::string shape;      // of that table now (parse_shape); empty: unknown
};

// The changes of one transaction of the source, in their order.
struct DdlTransaction {
  pg::Lsn commit;  // where its commit record begins
  std::vector<DdlEntry> entries;
};

// Keeps the log as far as permitted; with kFreeze such statements fail, while applications write
// this side, unless the session says `set banyan.allow_ddl = on`. kFreeze without the right is an
// error.
Result<void> log_ddl(pg::Connection& db, DdlPolicy policy);

// The policy as far as this role can keep it: a freeze without the right only stops.
DdlPolicy permitted(const pg::Connection& db, DdlPolicy policy);

// Whether this publication brings the log, and the triggers write it.
Result<bool> is_ddl_in_stream(pg::Connection& source, const std::string& publication);

// The last entries as text; empty when the log is not kept.
std::string last_ddl(pg::Connection& source);

}  // namespace banyan::replication
