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
// Pure questions; nothing is changed here. Tables with a mapping are not compared.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "planes/replication/mapping.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// The objects of tables whose likeness matters. Key: rank of the kind, name.
struct Shape {
  std::string kind;
  std::string definition;
  std::string repair;    // adds it
  std::size_t rank = 0;  // in an order in which they can be added
};
using Shapes = std::map<std::pair<int, std::string>, Shape>;

struct SchemaDifference {
  std::string kind;    // table, column, label, index
  std::string object;  // public.orders.total
  std::string what;    // "is missing on the other side"
  std::string repair;  // statements for the other side; of a table its quoted name; empty: none
  // Rows cannot be carried rightly while it lasts. A missing index only makes a difference later.
  bool stops() const { return kind != "index"; }
  bool is_new_table() const { return kind == "table" && !repair.empty(); }
  // By statements of its own: the columns of partitions come with their parent's.
  bool is_repeatable() const { return kind != "table" && !repair.empty() && repair != "select"; }
  friend bool operator==(const SchemaDifference&, const SchemaDifference&) = default;
};
// "table public.t is missing on the other side; ..."
std::string list_of(const std::vector<SchemaDifference>& found);
// What a person can do about them; numbered.
std::string ways_out(const std::vector<SchemaDifference>& found);

// What `source` has and `target` has not, or has otherwise. In an order in which it can be
// repaired.
Result<std::vector<SchemaDifference>> compare_schemas(pg::Connection& source,
                                                      pg::Connection& target,
                                                      const Direction& direction);

// The query behind it: rank, kind, object, definition, repair, place; `which` is a condition on the
// pg_class `c` of the tables.
std::string shape_sql(int server_version, const std::string& which);
// Of one table, by its quoted name; empty when there is none.
Result<Shapes> read_shape(pg::Connection& db, const std::string& table);
// From a list of shape_sql's rows as JSON.
Result<Shapes> parse_shape(std::string_view json);
std::vector<SchemaDifference> compare_shapes(const Shapes& here, const Shapes& there);

// Whether its columns or rows move under other names: then shapes say nothing.
bool is_mapped(const FencedTable& table, const Mapping& mapping);

}  // namespace banyan::replication
