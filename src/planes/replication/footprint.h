#pragma once
// Footprint: what transactions touch, as hashes, so that it is known beforehand which of them may
// be written at once. Pure but for TableFootprint::read().
//
//   row        its values of the replica key and of every unique index, before and after the change
//   reference  the key a foreign key names, where foreign keys act on the applying session
//   table      when rows cannot be told apart (no key: inserts only read it), or when equality is
//              not that of values (exclusion constraints, indexes of expressions)
//   alone      something of a user acts (triggers, rules), so nothing can be known
// Equal values always have equal hashes when their texts are equal; texts may differ ("1.0" and
// "1.00"), and old values of unique columns are not in the stream: what is missed here, the server
// finds (a violation, a wrong count, a wait), and whoever writes has to be able to try again.

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "planes/replication/compaction.h"
#include "planes/replication/row_statements.h"
#include "planes/replication/set_plan.h"

namespace banyan::replication {

using Touch = std::uint64_t;
using Touches = std::unordered_set<Touch>;

struct Footprint {
  std::vector<Touch> writes;
  std::vector<Touch> reads;  // in conflict with writes only
};

class TableFootprint {
 public:
  enum class Grain : std::uint8_t { kRows, kTable, kAlone };
  // Columns whose values together are touched.
  struct Columns {
    Touch seed = 0;
    std::vector<std::size_t> positions;  // in the relation
  };

  static Result<TableFootprint> read(pg::Connection& catalog, const RowPlan& rows,
                                     SetPlan::Role role);
  // For tests.
  TableFootprint(Grain grain, Touch table, std::vector<Columns> written, std::vector<Columns> named)
      : grain_(grain), table_(table), written_(std::move(written)), named_(std::move(named)) {}

  Grain grain() const { return grain_; }
  void add(const Change& change, Footprint& out) const;
  // Whether the row touches one of them.
  bool meets(const NetChange& row, const Touches& touches) const;

 private:
  bool has_key() const { return !written_.empty(); }
  Grain grain_;
  Touch table_;
  std::vector<Columns> written_;
  std::vector<Columns> named_;
};

// Of rows of one table: a start for the hashes of these columns, whatever their order.
Touch seed_of(std::uint32_t table, std::vector<std::string> columns);

}  // namespace banyan::replication
