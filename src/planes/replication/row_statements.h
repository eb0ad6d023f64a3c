#pragma once
// RowPlan: how changes of one published relation are written to its table here. Pure: text only.
//
// Rows are found by the replica key; under FULL identity by the table's primary key when there is
// one, else by all columns, NULL-safe and by their text, exactly one row. Generated columns are
// left out, unchanged TOAST values too, and what the mapping leaves behind; renamed columns are
// written under their name here. Identity columns ALWAYS cannot be updated: such updates delete and
// insert in one statement.

#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/catalog.h"
#include "planes/replication/mapping.h"
#include "planes/replication/transaction.h"

namespace banyan::replication {

// Whether a statement's text is wanted: it is written once for each shape.
enum class Text : std::uint8_t { kNo, kYes };

// A statement and the cells that are its parameters. `shape` names the text: equal shapes of one
// plan have equal text.
struct RowStatement {
  std::string shape;
  std::string sql;
  std::vector<const pg::Cell*> params;
  bool is_needed = true;  // false: the change leaves nothing to write
};

class RowPlan {
 public:
  struct Field {
    std::string name;  // as the table here calls it
    std::string quoted;
    std::string type;
    bool is_written = true;  // neither generated here nor left behind
    bool is_always_identity = false;
    bool is_key = false;
  };
  // Fails when the table here lacks a column of the relation.
  static Result<RowPlan> create(const Relation& relation, Table table, const TableMapping& mapping);
  Result<RowStatement> statement(const Change& change, Text text) const;
  const std::vector<std::string>& key_columns() const { return key_names_; }
  const Table& table() const { return table_; }
  // By position in the relation.
  const std::vector<Field>& fields() const { return fields_; }
  // Positions of the key columns; empty: rows are found by all columns.
  const std::vector<std::size_t>& key() const { return key_; }

 private:
  RowStatement insert(const Change& change, Text text) const;
  Result<RowStatement> update(const Change& change, Text text) const;
  RowStatement replace(const Change& change, Text text) const;
  Result<RowStatement> remove(const Change& change, Text text) const;
  // Finds the old row: appends its parameters, gives " where ..." when wanted.
  Result<std::string> find_row(const Change& change, Text text, RowStatement& out) const;
  Result<std::string> find_by_key(const pg::Tuple& old, Text text, RowStatement& out) const;
  Result<std::string> find_by_all(const pg::Tuple& old, Text text, RowStatement& out) const;
  const pg::Tuple& old_values(const Change& change) const;
  bool changes_key(const Change& change) const;
  bool needs_replace(const Change& change) const;

  Table table_;
  std::string target_;
  std::vector<Field> fields_;  // by position in the relation
  std::vector<std::size_t> key_;
  std::vector<std::string> key_names_;
};

}  // namespace banyan::replication
