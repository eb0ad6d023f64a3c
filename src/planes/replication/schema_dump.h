#pragma once
// The source's schema as pg_dump tells it: read once, into an archive in a folder, and kept there
// as SQL, a file for each section. One archive, so the sections agree with one another even where
// no snapshot is given.

#include <string>
#include <string_view>
#include <vector>

#include "planes/replication/control_schema.h"

namespace banyan::replication {

// One object of a plain pg_dump, in dump order.
struct SchemaItem {
  std::string name;  // "orders orders_pkey"
  std::string type;  // "CONSTRAINT"
  std::string schema;
  std::string sql;
  std::string tablespace{};  // empty: the default one
};

// Splits the text of a plain pg_dump at its "-- Name: ...; Type: ...;" headers; psql's own commands
// (\restrict) are dropped. What stands before the first header becomes an item of type "SETTINGS".
std::vector<SchemaItem> split_dump(std::string_view dump);

inline const std::string kPreData = "pre-data";    // what the rows need
inline const std::string kPostData = "post-data";  // what is restored onto the tables
// Of a part of a database: pre-data of the whole, for the types and routines its tables use.
inline const std::string kTypes = "types";

struct SchemaDumpRequest {
  std::string source_url;
  std::string snapshot;  // may be empty; else its exporting session must stay
  std::string directory;
  TableNames tables;         // empty: the whole database
  TableNames excluded;       // of these nothing
  bool keeps_owners = true;  // and grants
  bool keeps_tablespaces = true;
  bool keeps_labels = true;
};

// Writes the sections into the folder, which is made. kUnavailable when the server went away, or
// the snapshot with its session; kNotFound when no pg_dump here is as new as the server.
Result<void> dump_schema(pg::Connection& source, const SchemaDumpRequest& request);

// kNotFound when nothing was dumped there.
Result<std::vector<SchemaItem>> read_section(const std::string& directory,
                                             const std::string& section);

}  // namespace banyan::replication
