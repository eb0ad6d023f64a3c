#pragma once
// Applier: writes a stream's transactions to the other side, each exactly once.
//
//   one target transaction = mark progress, a batch (consecutive committed source transactions,
//   compacted), advance progress
//
// A batch is closed at 5000 transactions or 4 MB, at a barrier, and when nothing more has arrived.
// A source transaction larger than that is written in segments of one target transaction. What sets
// of rows cannot write is rolled back and written row by row, in order. Every statement's row count
// must be the expected one; otherwise nothing is committed and the error names the table and the
// source position (and ApplyShared::misfit both versions of the row). After any error the sessions
// are thrown away and fresh ones claim the progress again.
//
// Far behind, several batches are written at once (ApplyLanes), each by a session of its own, and
// committed in the source's order. These stand alone, after all before them and before all behind
// them: a barrier, a TRUNCATE, a transaction in segments, a table on which something of a user
// acts, and the first batch with a relation (of this shape).
//
// A transaction that changed the schema is met when everything before it is committed (DdlGate): it
// stops the stream there, or is applied alone, as a barrier is. What it changed has to be known
// before its first row is written, so a large one is read to its end first, then again.
//
// Admission: a change is applied while the side it comes from may be written (`running`, or
// `fenced` and the barrier of that fence not yet seen). While fenced behind the barrier the applier
// waits for the verdict. Otherwise the change is an alarm and is not applied: the tripwire. Changes
// of copies (tables of a split that stay) need no admission: only their own side ever writes them.

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/replication/apply_lanes.h"
#include "planes/replication/ddl_gate.h"
#include "planes/replication/proof.h"
#include "planes/replication/transaction.h"

namespace banyan::replication {

// A change on a side that may not be written.
struct Alarm {
  std::string table;
  std::string operation;
  std::string row;  // "id=7 v=NULL", cut to a few hundred bytes
  std::uint32_t xid = 0;
  std::string lsn;
};

// What others may see of an applier, and how they make it stand at a point.
struct ApplyShared {
  pg::Lsn applied;      // in the target, read back by the update itself
  pg::Lsn position;     // everything before is applied or was nothing to apply
  pg::Lsn last_commit;  // commit record of the last applied transaction
  std::int64_t applied_time_us = 0;
  std::int64_t transactions = 0;
  std::int64_t rows = 0;
  std::int64_t batches = 0;
  std::int64_t batches_row_by_row = 0;  // that sets could not write
  std::int64_t batches_beside = 0;      // written while others were open
  std::int64_t batches_again = 0;       // of those: that had to be written anew, alone
  std::optional<Misfit> misfit;         // why applying has stopped
  std::int64_t alarms_total = 0;
  std::deque<Alarm> alarms;                 // the last ones
  std::deque<DdlNote> ddl;                  // the last changes of the schema that were met
  std::optional<DdlTransaction> ddl_stop;   // applying has stopped before it
  std::optional<DdlTransaction> ddl_ahead;  // of a large transaction that was read to its end
  std::optional<pg::Lsn> line;              // do not apply what commits at or after it
  bool is_at_line = false;
};

// How much is done at once.
struct Effort {
  int connections = 0;            // while far behind; 0: as many as there are cores, at most 4
  Duration far_behind = 1s;       // from this lag on
  int batch_transactions = 5000;  // at most
};

struct ApplierConfig {
  std::string migration;
  SideName from = SideName::kOld;
  std::string from_url;
  std::string to_url;
  ChunkFilters filters;
  // By "schema.table": applied whoever may write the other tables.
  std::set<std::string> copies;
  Direction direction;
  DdlPolicy ddl = DdlPolicy::kStop;
  // kRows: never compact. For comparison, and as a way out.
  BatchWriter::Way way = BatchWriter::Way::kSets;
  Effort effort;
  Proof* proof = nullptr;  // outlives the applier
};

class Applier {
 public:
  // Claims the progress.
  static Result<std::unique_ptr<Applier>> open(const ApplierConfig& config,
                                               Guarded<ApplyShared>& shared);
  // For open().
  Applier(const ApplierConfig& config, Guarded<ApplyShared>& shared, pg::Connection session,
          Claim claim, SetPlan::Role role);
  const Claim& claim() const { return claim_; }
  Result<void> take(Fragment fragment, const std::stop_token& stop);
  // Nothing waits in the queue: commits what is there, learns what is durable, keeps the position.
  Result<void> idle(const std::stop_token& stop);
  // Up to where the source may forget.
  pg::Lsn durable() const { return durable_; }
  // Far behind, with a batch that has room: more will come in a moment.
  bool is_catching_up() const;

 private:
  enum class Admission : std::uint8_t { kApply, kAlarm, kWait };
  Result<void> take_position(pg::Lsn end, const std::stop_token& stop);
  Result<void> begin_transaction(const Fragment& fragment, const std::stop_token& stop);
  Result<Admission> admission();
  Result<bool> admit(const std::stop_token& stop);
  Result<void> sift(Fragment& fragment, const std::stop_token& stop);
  Result<void> begin_alone(const Fragment& fragment, const std::stop_token& stop);
  Result<void> meet_ddl(const DdlTransaction& ddl, const std::stop_token& stop);
  Result<void> read_ahead(Fragment fragment);
  bool has_batch() const { return session_.is_in_batch() || !batch_.fragments.empty(); }
  bool is_far_behind() const;
  Result<void> touch();
  Result<void> write(const Move* move);
  Result<void> commit_batch();
  Result<void> write_alone();
  // What the batch touches; nothing when it has to stand alone.
  std::optional<Footprint> footprint() const;
  Result<void> give_to_lanes(Footprint footprint);
  Result<void> drain_lanes();
  Result<void> of_lanes(Result<void> done);
  Move move() const;
  void note_committed(ApplyLanes::Committed done);
  void raise_alarm(const Fragment& fragment);
  Result<void> stand_at_line(pg::Lsn upcoming, const std::stop_token& stop);
  Result<void> keep_position();
  void learn_durable(pg::Lsn flushed);
  void publish_progress(ApplyLanes::Committed done);
  Result<pg::Connection*> arbiter();

  const ApplierConfig config_;
  Guarded<ApplyShared>& shared_;
  std::optional<pg::Connection> arbiter_;
  Claim claim_;
  TablePlans plans_;
  ApplySession session_;
  const DdlGate gate_;
  std::unique_ptr<ApplyLanes> lanes_;  // null: not far behind of late
  bool is_trusted_ = false;
  bool is_skipping_ = false;
  std::optional<bool> is_admitted_;  // of the transaction at hand; not asked yet
  bool in_transaction_ = false;
  bool is_ddl_met_ = false;              // of the transaction at hand
  std::optional<DdlTransaction> ahead_;  // its changes of the schema, while it is only read

  Batch batch_;     // not written yet, or its last part
  pg::Lsn given_;   // end of what is committed or given to the lanes
  pg::Lsn passed_;  // the stream is complete up to here
  pg::Lsn position_;
  pg::Lsn last_commit_;
  pg::Lsn durable_;
  Mono last_kept_{};
  Mono last_learned_{};
  Mono last_far_behind_{};
  std::deque<std::pair<pg::Lsn, pg::Lsn>> not_durable_;  // source position, target's WAL behind it
};

}  // namespace banyan::replication
