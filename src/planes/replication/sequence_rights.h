#pragma once
// SequenceRights: a fence stops writes to tables, but nextval() writes to no table. So in the
// transaction of the fence the rights to draw from the moved sequences are taken away, and given
// back in the transaction that ends the fence; what was taken is kept in banyan.sequence_rights.
//
// Superusers draw on, and so does our own role and the owner when our role is none: it must set the
// sequences. A value drawn behind the fence is a gap, never a duplicate.

#include "planes/replication/mapping.h"

namespace banyan::replication {

// Inside the caller's transaction. Nothing when they are closed already. Sequences of tables of
// which only some rows move stay: the others go on drawing.
Result<void> close_sequences(pg::Connection& db, const std::string& migration,
                             const Direction& out);
Result<void> give_back_sequences(pg::Connection& db, const std::string& migration);

}  // namespace banyan::replication
