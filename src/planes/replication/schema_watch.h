#pragma once
// SchemaWatch: finds out that the schema of a followed database changed, by comparing what both
// catalogs say about the moved tables, and knows which changes can be repeated on the other side at
// any time without making rows differ:
//
//   repeated   a column that may be null, is generated, or has a constant default; a label of an
//              enum; an index; a new table or partition (it is copied: kind "table")
//   not        anything else: another type or name, NOT NULL, a default that is computed, what was
//              dropped. A person decides.
//
// Pure questions; nothing is changed here but by log_ddl. Tables with a mapping are not compared.

#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "planes/replication/mapping.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// What happens when the schema of the followed side changes.
//   stop        the migration stops and says what to do
//   freeze      such statements fail on the source (an event trigger: needs a superuser)
//   apply_safe  what can be repeated is repeated; the rest stops the migration
enum class DdlPolicy : std::uint8_t { kStop, kFreeze, kApplySafe };
Result<DdlPolicy> parse_ddl_policy(std::string_view name);

struct SchemaDifference {
  std::string kind;    // table, column, label, index
  std::string object;  // public.orders.total
  std::string what;    // "is missing on the other side"
  std::string repair;  // statements for the other side; of a table its quoted name; empty: none
  // Rows cannot be carried rightly while it lasts. A missing index only makes a difference later.
  bool stops() const { return kind != "index"; }
};

// What `source` has and `target` has not, or has otherwise. In an order in which it can be
// repaired.
Result<std::vector<SchemaDifference>> compare_schemas(pg::Connection& source,
                                                      pg::Connection& target,
                                                      const Direction& direction);

// Keeps who changed what in banyan.ddl_log, by event triggers, as far as permitted (superuser);
// with kFreeze such statements fail unless the session says `set banyan.allow_ddl = on`. kFreeze
// without the right is an error.
Result<void> log_ddl(pg::Connection& source, DdlPolicy policy);

// The last entries of banyan.ddl_log as text; empty when it is not kept.
std::string last_ddl(pg::Connection& source);

}  // namespace banyan::replication
