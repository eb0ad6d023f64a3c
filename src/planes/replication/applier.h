#pragma once
// Applier: writes a stream's transactions to the other side, each exactly once.
//
//   one target transaction = mark progress, rows of one or more source transactions, advance
//   progress
//
// Every statement's row count must be the expected one; otherwise nothing is committed and the
// error names the table and the source position. A session belongs to one thread; after any error
// it is thrown away and a fresh one claims the progress again.
//
// Admission: a change is applied while the side it comes from may be written (`running`, or
// `fenced` and the barrier of that fence not yet seen). While fenced behind the barrier the applier
// waits for the verdict. Otherwise the change is an alarm and is not applied: the tripwire.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/replication/apply_progress.h"
#include "planes/replication/row_statements.h"
#include "planes/replication/snapshot_filter.h"
#include "planes/replication/transaction.h"
#include "wire/pg/pipeline.h"

namespace banyan::replication {

struct TouchedKey {
  std::string schema;
  std::string table;
  std::vector<std::string> columns;
  std::vector<std::string> values;
};

// A change on a side that may not be written.
struct Alarm {
  std::string table;
  std::string operation;
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
  // By "schema.table": tables that were copied under their own snapshot.
  std::map<std::string, SnapshotFilter> filters;
};

class Applier {
 public:
  // Claims the progress.
  static Result<std::unique_ptr<Applier>> open(const ApplierConfig& config,
                                               Guarded<ApplyShared>& shared);
  // For open().
  Applier(const ApplierConfig& config, Guarded<ApplyShared>& shared, pg::Connection session,
          Claim claim)
      : config_(config),
        shared_(shared),
        session_(std::move(session)),
        claim_(claim),
        pipeline_(session_) {}
  const Claim& claim() const { return claim_; }
  Result<void> take(const Fragment& fragment, const std::stop_token& stop);
  // Nothing waits in the queue: commits what is there, learns what is durable, keeps the position.
  Result<void> idle(const std::stop_token& stop);
  // Up to where the source may forget.
  pg::Lsn durable() const { return durable_; }

 private:
  enum class Admission : std::uint8_t { kApply, kAlarm, kWait };
  enum class Expect : std::uint8_t { kOne, kAtMostOne, kAny };
  struct Step {
    std::string what;
    const RowPlan* plan;
    Operation operation;
    pg::Lsn commit;
    Expect expect;
  };
  struct Plan {
    RelationPtr relation;
    RowPlan row;
    std::unordered_map<std::string, std::string> statements;  // shape -> prepared name
    // Foreign keys act on this session and cascade here before the stream says so.
    bool is_cascaded_to = false;
  };

  Result<void> take_position(pg::Lsn end, const std::stop_token& stop);
  Result<void> begin_transaction(const Fragment& fragment, const std::stop_token& stop);
  Result<Admission> admission();
  Result<bool> admit(const std::stop_token& stop);
  Result<void> begin_batch();
  Result<void> apply(const Change& change, const Fragment& fragment);
  Result<void> truncate(const Change& change, const Fragment& fragment);
  Result<void> run(Plan& plan, const RowStatement& statement, const Change& change, pg::Lsn commit);
  Result<void> barrier(std::int64_t epoch);
  Result<void> commit_batch();
  Result<void> check_answers();
  Result<Plan*> plan_for(const RelationPtr& relation);
  Result<bool> is_cascaded_to(const Table& table);
  bool is_copied_already(const Relation& relation, std::uint32_t xid) const;
  void note_touched(const Plan& plan, const Change& change);
  void raise_alarm(const Fragment& fragment);
  Result<void> stand_at_line(pg::Lsn upcoming, const std::stop_token& stop);
  Result<void> keep_position();
  Result<void> learn_durable(const std::string& positions);
  void publish_progress();
  Result<void> step(Step step);
  Result<pg::Connection*> arbiter();

  const ApplierConfig config_;
  Guarded<ApplyShared>& shared_;
  pg::Connection session_;
  std::optional<pg::Connection> arbiter_;
  std::optional<pg::Connection> catalog_;
  Claim claim_;
  pg::Pipeline pipeline_;
  std::deque<Step> steps_;
  std::string last_value_;  // of the last statement that returned a row
  std::unordered_map<const Relation*, std::unique_ptr<Plan>> plans_;
  int next_statement_ = 0;
  bool is_replica_ = false;  // session_replication_role
  bool is_trusted_ = false;
  bool is_skipping_ = false;

  // The open batch.
  bool in_batch_ = false;
  bool in_transaction_ = false;
  pg::Lsn batch_end_;
  pg::Lsn batch_commit_;
  std::int64_t batch_time_us_ = 0;
  int batch_transactions_ = 0;
  std::size_t batch_bytes_ = 0;
  std::int64_t batch_rows_ = 0;
  std::optional<std::int64_t> batch_barrier_;
  std::deque<TouchedKey> touched_;

  pg::Lsn position_;
  pg::Lsn last_commit_;
  pg::Lsn durable_;
  Mono last_kept_{};
  std::deque<std::pair<pg::Lsn, pg::Lsn>> not_durable_;  // source position, target's WAL behind it
};

}  // namespace banyan::replication
