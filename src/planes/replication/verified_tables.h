#pragma once
// VerifiedTables: which rows of which tables are the same on two sides, by the catalogs of both and
// the mapping between them. Nothing of the apply code's idea of keys is used.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "planes/replication/mapping.h"

namespace banyan::replication {

struct VerifiedColumn {
  std::string name;
  std::string expression;  // SQL of what is compared
  std::string type;
  bool is_key = false;  // of the primary key
};

// One side of a table.
struct VerifiedTable {
  std::string schema;
  std::string name;
  std::string qualified;  // quoted where it must be
  std::vector<VerifiedColumn> columns;
  bool is_partitioned = false;
  std::string where;  // a condition on its rows; empty: all
  std::string oid;

  std::vector<std::string> key() const;  // quoted; empty: none
  std::string rows() const;              // "only t where ...", to which conditions can be added
};

// The columns of both sides are in the same order. Without `passive`: that side has no such table.
struct ComparedTable {
  VerifiedTable active;
  std::optional<VerifiedTable> passive;
};

struct SessionPairRef {
  pg::Connection& active;
  pg::Connection& passive;
};

// Servers before 12 write floats with other digits than later ones. Between such two, columns of
// floats are compared as bytes, and floats inside other types with 15 digits.
enum class FloatForm : std::uint8_t { kText, kBytes };
FloatForm float_form(const pg::Connection& active, const pg::Connection& passive);
// Runs `compare` while both sessions write the floats that `form` asks for; then as before.
Result<void> with_float_form(SessionPairRef sides, FloatForm form,
                             const std::function<Result<void>()>& compare);

// The permanent tables that move out of the active side, ordered by name.
Result<std::vector<ComparedTable>> compared_tables(SessionPairRef sides,
                                                   const Direction& direction);

// A condition of SQL that holds for the rows with these keys (text of each key column, in the
// table's order).
using RowKeys = std::vector<std::vector<std::string>>;
std::string key_condition(const VerifiedTable& table, const RowKeys& keys);

}  // namespace banyan::replication
