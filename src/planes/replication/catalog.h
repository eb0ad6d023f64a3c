#pragma once
// Catalog: what a database says about the moved tables. Read, never remembered from the other side.

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "planes/replication/mapping.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

struct Column {
  std::string name;
  std::string type;  // as format_type writes it, qualified
  std::uint32_t type_id = 0;
  bool is_generated = false;
  bool is_bytewise = false;  // text of collation "C": sorts as its bytes do
  char identity = '\0';      // 'a' always, 'd' by default
};

// Of a type's name.
inline bool is_whole_number(std::string_view type) {
  return type == "smallint" || type == "integer" || type == "bigint";
}

// A table whose rows move under its name: plain, a leaf partition, or a partitioned table that the
// mapping names (its partitions are then no tables of their own here). Permanent unless said.
struct Table {
  std::uint32_t oid = 0;
  std::string schema;
  std::string name;
  bool is_partitioned = false;
  char replica_identity = 'd';
  std::vector<Column> columns;
  std::vector<std::string> primary_key;  // empty: none
  std::vector<std::string> replica_key;  // what the change stream names rows by; empty: none
  std::int64_t bytes = 0;                // with what is stored out of line
  std::int64_t heap_bytes = 0;           // its own pages
  std::int64_t rows_estimate = 0;

  std::string qualified() const { return pg::quote_qualified(schema, name); }
  // For queries: these rows, not those of tables that inherit from it.
  std::string exactly() const { return (is_partitioned ? "" : "only ") + qualified(); }
  std::string display() const { return schema + "." + name; }
  // Updates of a published table without a replica key fail in the application.
  bool needs_full_identity() const { return replica_key.empty() && replica_identity != 'f'; }
  const Column* column(std::string_view name) const;
};

// All tables that hold rows of what moves out of this side, biggest first.
Result<std::vector<Table>> read_tables(pg::Connection& db, const Direction& direction);
// Those of them whose rows no log carries.
Result<std::vector<Table>> read_unlogged(pg::Connection& db, const TableNames& tables);
// One table; kNotFound when there is none of that name.
Result<Table> read_table(pg::Connection& db, const std::string& schema, const std::string& name);

// Key columns may have types of extensions: the session's search path becomes pg_catalog and the
// schemas of extensions, so that their operators are found and nobody else's.
Result<void> find_extension_operators(pg::Connection& db);

// Replica identity FULL for what has no key, then the publication of the moved tables (partitioned
// ones by their root, so that new partitions are in it) and of banyan's own. Idempotent. Where
// the mapping names a root, its partitions' rows bear the root's name.
// With the mapping's conditions on rows: tables that have one get replica identity FULL.
Result<void> publish(pg::Connection& db, const std::string& publication,
                     const Direction& direction);
// The first half of it: identities are set, and what is to be published.
struct PublishedTable {
  std::string name;   // "schema.table"
  std::string entry;  // as a publication lists it
};
struct Publishable {
  std::vector<PublishedTable> tables;
  bool is_through_roots = false;
};
Result<Publishable> publishable(pg::Connection& db, const Direction& direction);
// Those of banyan that a publication lists besides.
Result<std::vector<PublishedTable>> published_own_tables(pg::Connection& db);
std::string entries_of(const std::vector<PublishedTable>& tables);
// "schema.table" as a stream names the rows of these tables: by partition or by root.
Result<std::set<std::string>> published_names(pg::Connection& db, const TableNames& tables);
Result<void> drop_publication(pg::Connection& db, const std::string& publication);

}  // namespace banyan::replication
