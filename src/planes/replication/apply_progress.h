#pragma once
// ApplyProgress: how far a stream is applied, and which slot it reads. Kept on the applying side,
// in banyan.progress (changed in the transaction of the changes) and banyan.stream:
//
//   stage of a stream     set by                              survives a restart
//   schema                begin: slot and progress exist      yes: begins anew, nothing was copied
//   copying               schema restored                     yes: finished chunks are kept
//   indexing              last chunk                          yes: indexing is repeated
//   following             indexes built                       yes
//   repairing             a new slot replaces a lost one      yes: only a new repair goes on

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "planes/replication/control_schema.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

// "shop:old" is the stream of migration shop out of its old side.
std::string stream_name(const std::string& migration, SideName from);

struct StreamRecord {
  std::string stream;
  std::string slot;
  std::string system_id;   // of the server the slot is on
  std::string timeline{};  // of that server, when the slot was made; empty: not known
  std::string stage;
  std::string snapshot;  // the slot's, as transaction ids
  pg::Lsn start;         // the slot's consistent point
};

// Creates banyan.stream if need be.
Result<void> create_stream_table(pg::Connection& db);
Result<std::optional<StreamRecord>> read_stream(pg::Connection& db, const std::string& stream);
// Replaces the record and resets the progress to its start, in one transaction.
Result<void> write_stream(pg::Connection& db, const StreamRecord& record);
// Replaces the slot and the position of a stream whose rows were copied before.
Result<void> retarget_stream(pg::Connection& db, const StreamRecord& record);
Result<void> set_stage(pg::Connection& db, const std::string& stream, const std::string& stage);
Result<void> delete_stream(pg::Connection& db, const std::string& stream);

// What an applier starts with: it owns the progress until somebody else claims it.
struct Claim {
  pg::Lsn applied;
  std::int64_t epoch = 0;
  std::int64_t barrier_epoch = 0;
};
Result<Claim> claim_progress(pg::Connection& db, const std::string& stream);

// A row of this part's own, so that it can mark its transactions beside others'. Part 0 is the
// progress itself.
Result<void> claim_part(pg::Connection& db, const std::string& stream, int part,
                        std::int64_t epoch);

// Marks this transaction as ours, as its first change, for the stream that flows the other way;
// locks the progress until its end.
Result<void> mark_as_ours(pg::Connection& db, const std::string& stream);

// The statements of an applying transaction. The first marks the transaction as ours for the stream
// that flows the other way, and locks the part's row; the second moves the progress. One row each.
std::string mark_sql();  // $1 stream, $2 part, $3 epoch
std::string
advance_sql();  // $1 stream, $2 epoch, $3 applied so far, $4 applied now, $5 barrier epoch

}  // namespace banyan::replication
