#pragma once
// The schema `banyan`: what a migration keeps in the two databases it joins. The same on both
// sides, created idempotently, with no more than ownership of the moved tables (no superuser).
//
//   migration       one row per migration and side: the arbiter (states: act.h)
//   gate of NAME    empty; its trigger closes a migration's tables, all at once (fence.h)
//   secret          one nonce per migration and side; readable by its owner only
//   barrier         published: the row that travels behind the last write of a fenced side
//   heartbeat       published: keeps a quiet database's slot moving; `side` is who wrote it
//   ddl_log         published: changes of the schema, see ddl_log.h
//   progress        on the applying side: how far each stream is durably applied. Row `part` 0 is
//                   changed in the transaction of the changes, with `where epoch = mine and lsn =
//                   last`, so a second applier cannot commit. The other parts belong to sessions
//                   that apply beside it. Also published: marks applied transactions.
//   applied_chunks  on the applying side: chunks of the copy that are durably there
//   refetched_rows  on the applying side: rows that were copied again by themselves (row_refetch.h)
//   sequence_rights on a fenced side: what sequence_rights.h has to give back
//   sequence_part   on the old side: which slice of a table draws from which part of its sequence
//   shared_slot, shared_table  on the old side: what splits share there, see shared_slot.h
//   made            on the new side: what we created there, see made_objects.h
//   relation_map    on the applying side: which table each published table is written to

#include <string>
#include <vector>

#include "base/error.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// Which side of a migration a database is. The names in JSON are "old" and "new".
enum class SideName : std::uint8_t { kOld, kNew };
std::string_view side_name(SideName side);
inline SideName other_side(SideName side) {
  return side == SideName::kOld ? SideName::kNew : SideName::kOld;
}

// The tables of a migration, as "schema.table"; empty means every user table of the database.
using TableNames = std::vector<std::string>;

struct FencedTable {
  std::uint32_t oid = 0;
  std::string qualified;  // quoted, ready for SQL
  char fence = '\0';  // how its trigger (fence.h) is enabled, as in pg_trigger; zero: there is none
  bool is_partitioned = false;
  std::string root;  // of a partition: the topmost table above it, quoted; from 13 on
};

// Creates or completes schema `banyan` and this migration's rows.
Result<void> create_control_schema(pg::Connection& db, const std::string& migration, SideName side);

// Its gate, and the function by which its fences ask that; quoted.
std::string gate_of(const std::string& migration);
std::string fence_of(const std::string& migration);

// The moved tables with all partitions, inheritance children and parents, in oid order: everything
// through which one of their rows can be written.
Result<std::vector<FencedTable>> fenced_tables(pg::Connection& db, const TableNames& tables);
// "16384,16390", for an array literal.
std::string oid_list(const std::vector<FencedTable>& tables);

// Drops this migration's rows; the schema too when no migration is left in it.
Result<void> drop_control_schema(pg::Connection& db, const std::string& migration);

}  // namespace banyan::replication
