#pragma once
// Mapping: what of a table is moved, and what it is called on the other side. A value.
//
//   {"table": "public.orders", "to": "sales.orders", "columns": {"id": "order_id"},
//    "without": ["secret"], "where": "tenant = 7"}
//
// Tables that are not named are moved as they are. Tables are named as in SQL (public when no
// schema is said), columns as in the catalog. Columns may be renamed and left out; `where` is an
// SQL condition over the old side's columns. Copy, stream, verification and repair use the same
// mapping, so they agree. A row condition on the stream needs a source of PostgreSQL 15 or newer
// (it becomes the publication's), columns are left out by any version.

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "planes/replication/control_schema.h"

namespace banyan::replication {

struct TableMapping {
  std::string source_schema;
  std::string source_table;
  std::string target_schema;
  std::string target_table;
  std::map<std::string, std::string, std::less<>> renamed;  // column there by column here
  std::vector<std::string> left_out;
  std::string where;        // rows that are moved, on the side they come from; empty: all
  std::string where_there;  // rows that are theirs, on the side they go to; empty: all

  std::string source_name() const;  // quoted
  std::string target_name() const;
  bool has_column(std::string_view source_column) const;
  std::string target_column(std::string_view source_column) const;
};

class Mapping {
 public:
  // From the configuration's list; no list is an empty mapping. Fails with kInvalidArgument.
  static Result<Mapping> parse(const nlohmann::json& list);
  bool empty() const { return tables_.empty(); }
  const std::vector<TableMapping>& tables() const { return tables_; }
  // Null: the table is moved as it is.
  const TableMapping* find(std::string_view schema, std::string_view table) const;
  // Whether rows of this partition move through its root, because the root is named here.
  bool has_root_of(const FencedTable& table) const;
  // Tables whose rows are moved under their own names: plain tables, partitions, and instead of
  // those the partitioned tables that are named here.
  std::vector<FencedTable> moving(std::vector<FencedTable> tables) const;
  // The table's mapping, or one that changes nothing.
  TableMapping of(std::string_view schema, std::string_view table) const;
  // For the way back: names and conditions are turned round. What is left out there is absent here.
  Mapping reversed() const;
  // What the listed tables are called on the other side, ready for SQL.
  TableNames names_there(const TableNames& tables) const;

 private:
  std::vector<TableMapping> tables_;
};

// What moves out of one side into the other, and what it is called there.
struct Direction {
  TableNames from;  // on the side the rows come from; empty: all
  TableNames to;
  Mapping mapping;

  // Tables of this side of which only some rows move; those of `from` that move whole.
  TableNames slices() const;
  TableNames whole() const;
};

// "schema.table" as SQL writes it, without its quotes.
struct TableName {
  std::string schema;
  std::string table;
};
TableName parse_table_name(std::string_view written);

}  // namespace banyan::replication
