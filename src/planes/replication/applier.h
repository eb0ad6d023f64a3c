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
// source position (and ApplyShared::misfit both versions of the row). A session belongs to one
// thread; after any error it is thrown away and a fresh one claims the progress again.
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
#include "planes/replication/apply_progress.h"
#include "planes/replication/batch_writer.h"
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
  std::optional<Misfit> misfit;         // why applying has stopped
  std::int64_t alarms_total = 0;
  std::deque<Alarm> alarms;        // the last ones
  std::deque<TouchedKey> touched;  // the last ones
  std::optional<pg::Lsn> line;     // do not apply what commits at or after it
  bool is_at_line = false;
};

struct ApplierConfig {
  std::string migration;
  SideName from = SideName::kOld;
  std::string from_url;
  std::string to_url;
  // By "schema.table": tables that were copied under snapshots of their own.
  std::map<std::string, ChunkFilter> filters;
  // By "schema.table": applied whoever may write the other tables.
  std::set<std::string> copies;
  Mapping mapping;
  // kRows: never compact. For comparison, and as a way out.
  BatchWriter::Way way = BatchWriter::Way::kSets;
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
  enum class Segment : std::uint8_t { kPart, kLast };

  Result<void> take_position(pg::Lsn end, const std::stop_token& stop);
  Result<void> begin_transaction(const Fragment& fragment, const std::stop_token& stop);
  Result<Admission> admission();
  Result<bool> admit(const std::stop_token& stop);
  Result<void> sift(Fragment& fragment, const std::stop_token& stop);
  bool has_batch() const { return has_segments_ || !open_.empty(); }
  Result<void> write_segment(Segment segment);
  Result<void> try_segment(Segment segment, BatchWriter::Way way);
  Result<void> begin_segment();
  Result<void> end_batch();
  Result<void> rewind();
  Result<void> commit_batch();
  Result<void> commit();
  void raise_alarm(const Fragment& fragment);
  Result<void> stand_at_line(pg::Lsn upcoming, const std::stop_token& stop);
  Result<void> keep_position();
  Result<void> learn_durable(const std::string& positions);
  void publish_progress();
  Result<pg::Connection*> arbiter();

  const ApplierConfig config_;
  Guarded<ApplyShared>& shared_;
  pg::Connection session_;
  std::optional<pg::Connection> arbiter_;
  Claim claim_;
  BatchWriter writer_;
  bool is_trusted_ = false;
  bool is_skipping_ = false;
  std::optional<bool> is_admitted_;  // of the transaction at hand; not asked yet

  // The open batch.
  std::vector<Fragment> open_;  // not written yet
  std::size_t open_changes_ = 0;
  std::size_t open_bytes_ = 0;
  bool has_segments_ = false;  // parts of it are written, not committed
  bool in_transaction_ = false;
  pg::Lsn batch_end_;
  pg::Lsn batch_commit_;
  std::int64_t batch_time_us_ = 0;
  int batch_transactions_ = 0;
  std::optional<std::int64_t> batch_barrier_;

  pg::Lsn position_;
  pg::Lsn last_commit_;
  pg::Lsn durable_;
  Mono last_kept_{};
  Mono last_learned_{};
  std::deque<std::pair<pg::Lsn, pg::Lsn>> not_durable_;  // source position, target's WAL behind it
};

}  // namespace banyan::replication
