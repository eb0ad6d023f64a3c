#pragma once
// TableParts: a table as several, each with some of its rows, the same on both sides.

#include "planes/replication/touched_rows.h"
#include "planes/replication/verified_tables.h"

namespace banyan::replication {

// The rows that were touched; nothing when they cannot be told in SQL. `columns` are those of the
// touched keys, on `old_side` (one side of the table).
std::optional<std::vector<ComparedTable>> touched_parts(const ComparedTable& table,
                                                        const VerifiedTable& old_side,
                                                        const std::vector<std::string>& columns,
                                                        const TouchedRows& touched);

// All rows, in ranges of some 100k rows; the table itself when its key is not a whole number, or
// its rows do not lie in the key's order.
Result<std::vector<ComparedTable>> even_parts(SessionPairRef sides, const ComparedTable& table);

}  // namespace banyan::replication
