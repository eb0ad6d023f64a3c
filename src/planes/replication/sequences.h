#pragma once
// Sequences are not in the change stream. While following they are set ahead on the passive side,
// with head-room, off the critical path; in the pause only those that the active side has overtaken
// are set again. So after a switch a sequence never gives a value twice; it may leave a gap. A
// sequence never used stays so; one that could not take the head-room gets the exact value.
//
// Of a table of which only some rows move both sides draw at the same time, and what the new side
// draws goes back into the old table. So the new side's begins far ahead, each slice of a table in
// a part of its own (sequence_apart; banyan.sequence_part on the old side), and nothing is carried
// back.

#include "planes/replication/mapping.h"

namespace banyan::replication {

struct SequenceValue {
  std::string qualified;
  TableName owner;  // the table of the column it belongs to; empty: none
  std::string column;
  std::int64_t last_value = 0;
  bool is_called = false;
  std::int64_t increment = 1;
  std::int64_t min_value = 1;
  std::int64_t max_value = INT64_MAX;  // also of the column it belongs to
  bool cycles = false;
};

// The value to set on the passive side, or nothing when what it has is fine.
std::optional<SequenceValue> sequence_fix(const SequenceValue& active, const SequenceValue& passive,
                                          std::int64_t head_room);

// Where the new side begins to draw for a slice: for the first slice of a table half, for the next
// ones 3/4, 7/8, ... of what is left between what is `taken` and the end, and never more than 2^40
// values further than the slice before.
SequenceValue sequence_apart(const SequenceValue& active, std::int64_t taken, int part);

// A condition on pg_class c that holds for the sequences of the migration.
std::string sequence_condition(const TableNames& tables);

// Every sequence of the migration: all user sequences, or those owned by the listed tables
// (serial and identity). Ordered by name.
Result<std::vector<SequenceValue>> read_sequences(pg::Connection& db, const TableNames& tables);

struct SequenceReport {
  std::size_t count = 0;  // sequences compared
  std::size_t fixed = 0;
};
// Fails with kNotFound when the passive side lacks a sequence. Under a mapping it is the sequence
// of the column there, whatever its name; none for a column that is left out.
Result<SequenceReport> carry_sequences(pg::Connection& active, pg::Connection& passive,
                                       const std::string& migration, const Direction& direction);

}  // namespace banyan::replication
