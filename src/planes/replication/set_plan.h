#pragma once
// SetPlan: how many rows of one table are written by one statement: arrays in, rows out.
//
//   delete ... using unnest(keys)     update ... from unnest(keys, values), one a set of columns
//   insert ... select from unnest     copy, when there are many
// Integers, booleans and uuids travel as binary arrays of their type, everything else as an array
// of texts that the server casts, with the type's own input rules and without length limits, so
// that assignment checks them. Only for tables whose rows are independent of one another's order:
// without triggers, rules or casts of users that would act here; without a key only for inserts.
// Pure but for read().

#include <optional>
#include <string>
#include <vector>

#include "planes/replication/compaction.h"
#include "planes/replication/row_statements.h"

namespace banyan::replication {

struct SetStatement {
  std::string shape;  // equal shapes of one plan have equal text
  std::string sql;    // empty unless wanted
  std::vector<std::string> arrays;
  std::size_t rows = 0;
};

class SetPlan {
 public:
  // How a value travels.
  enum class Element : std::uint8_t { kInt2, kInt4, kInt8, kBool, kUuid, kText };
  struct Value {
    Element element = Element::kText;
    std::string type;       // cast to it, when it is a text; without length limits
    std::string collation;  // of a key column, when it is not the type's own
  };
  // Whether the session runs with session_replication_role = replica.
  enum class Role : std::uint8_t { kOrigin, kReplica };

  // Nothing: rows of this table are to be written one by one.
  static Result<std::optional<SetPlan>> read(pg::Connection& catalog, const RowPlan& rows,
                                             Role role);
  // For tests. `values` by position in the relation.
  SetPlan(const RowPlan& rows, std::vector<Value> values)
      : rows_(&rows), values_(std::move(values)) {}

  using Rows = std::vector<const NetChange*>;
  Result<SetStatement> remove(const Rows& rows, Text text) const;
  Result<SetStatement> insert(const Rows& rows, Text text) const;
  // All of one set of columns.
  Result<SetStatement> update(const Rows& rows, Text text) const;
  // Which columns an update sets, a digit each; without '1': none.
  void update_shape(const NetChange& change, std::string& shape) const;
  std::string copy_sql() const;
  static void append_copy_row(std::string& out, const pg::Tuple& row, const RowPlan& plan);

 private:
  struct Use {
    std::size_t position;
    bool is_key;  // taken from the key's row
  };
  Result<std::vector<std::string>> encode(const Rows& rows, const std::vector<Use>& uses) const;
  std::vector<Use> keys() const;
  std::vector<Use> written() const;
  std::string source(const std::vector<Use>& uses) const;
  std::string value(std::size_t use, std::size_t position) const;
  std::string match() const;
  const RowPlan* rows_;
  std::vector<Value> values_;
};

// One array parameter in binary format (PostgreSQL's array_recv); fails on a malformed value.
Result<std::string> encode_array(SetPlan::Element element,
                                 const std::vector<const pg::Cell*>& cells);

}  // namespace banyan::replication
