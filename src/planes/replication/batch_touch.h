#pragma once
// BatchTouch: which rows a batch is about to write, in the words of the proof: by the old side's
// names of tables and key columns. Rather more than less: also what a copy holds already.

#include <span>

#include "planes/replication/proof.h"
#include "planes/replication/table_plans.h"

namespace banyan::replication {

// Of the last `most` changes. Reads the catalogs of tables it meets for the first time.
Result<std::map<std::string, TableTouch>> touched_by(std::span<const Fragment> fragments,
                                                     TablePlans& plans, SideName from,
                                                     std::size_t most);

}  // namespace banyan::replication
