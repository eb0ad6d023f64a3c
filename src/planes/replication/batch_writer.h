#pragma once
// BatchWriter: writes the changes of a batch into the open transaction of a session, and checks
// that every statement met exactly the rows it had to.
//
//   sets   changes of each table compacted (Compaction), written by few statements (SetPlan);
//   tables
//          that cannot be written so, and what cannot be compacted, row by row within the same
//          batch
//   rows   every change by itself, in the source's order (RowPlan): also how a batch is written
//   that
//          sets could not (unique values that change hands), and the way to name what is wrong
// Beside earlier batches that are not committed yet (Beside), rows that touch what those touch are
// written last, when it may be done.
// One thread. After a failure call reset() and roll back; nothing of the batch is then remembered.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "planes/replication/chunk_filter.h"
#include "planes/replication/table_plans.h"
#include "wire/pg/pipeline.h"

namespace banyan::replication {

// A change that does not fit the applying side; both versions for a person to look at. Never
// logged.
struct Misfit {
  std::string table;
  std::string operation;
  std::string lsn;                                        // of the source's commit
  std::vector<std::pair<std::string, std::string>> key;   // empty: the table has none
  std::vector<std::pair<std::string, std::string>> here;  // the source's row, text values
  std::optional<std::string> there;                       // the row here as JSON, when there is one
};

using ChunkFilters = std::map<std::string, ChunkFilter>;

struct BatchWriterConfig {
  std::string from_url;  // for rows that must be copied again
  std::string stream;
  // By "schema.table": tables that were copied under snapshots of their own.
  ChunkFilters filters{};
};

// Earlier batches are open: what they touch too, and how to wait until they are not.
struct Beside {
  const Touches& shared;
  std::function<Result<void>()> wait;
};

std::string_view operation_name(Operation operation);

class BatchWriter {
 public:
  enum class Way : std::uint8_t { kSets, kRows };
  enum class Expect : std::uint8_t { kOne, kAtMostOne, kAny, kExactly };

  BatchWriter(pg::Connection& session, TablePlans& plans, BatchWriterConfig config)
      : session_(session),
        config_(std::move(config)),
        tables_(plans),
        pipeline_(session_),
        filters_(config_.filters) {}

  // The fragments stay as they are until settle() or reset(). `beside` only with kSets.
  Result<void> write(std::span<const Fragment> fragments, Way way, const Beside* beside = nullptr);
  // A statement of the batch's frame.
  Result<void> send(const std::string& what, const std::string& sql,
                    std::span<const pg::RawParam> params, Expect expect);
  // All answers are in and are the expected ones; the session is free.
  Result<void> settle();
  // Leaves the pipeline; statements are prepared anew. Then roll back.
  Result<void> reset();
  // Whether the last failure was about rows: then another way of writing may succeed, or tell more.
  bool failed_on_rows() const { return failed_on_rows_; }
  // What the last failure was about, read after the rollback; nothing when no single row is known.
  std::optional<Misfit> misfit();

  // Of what was written since the last call.
  std::int64_t take_rows() { return std::exchange(rows_, 0); }

 private:
  struct Plan {
    explicit Plan(const TablePlan& plan) : table(plan), net(plan.row.key()) {}
    const TablePlan& table;
    Compaction net;
    bool is_row_wise = false;                                 // in this batch
    std::unordered_map<std::string, std::string> statements;  // shape -> prepared name
  };
  struct Item {
    const Fragment* fragment;
    const Change* change;
    Plan* plan;
  };
  struct Step {
    std::string what;
    const Plan* plan = nullptr;
    const Change* change = nullptr;
    Operation operation = Operation::kInsert;
    pg::Lsn commit{};
    Expect expect = Expect::kAny;
    std::int64_t rows = 0;  // with kExactly
  };

  Result<void> write_sets(std::span<const Item> items, const Beside* beside);
  void compact(std::span<const Item> items);
  // The rows of all tables, of them those that touch something shared or not; all without `shared`.
  enum class Part : std::uint8_t { kFree, kShared };
  Result<void> write_tables(const Touches* shared, Part part);
  Result<void> write_table(Plan& plan, const SetPlan::Rows& rows);
  Result<void> write_inserts(Plan& plan, const SetPlan::Rows& rows);
  Result<void> run_set(Plan& plan, const SetStatement& statement, Operation operation,
                       const std::function<Result<SetStatement>()>& with_text);
  Result<void> write_row(const Item& item);
  Result<void> truncate(const Change& change, const Fragment& fragment);
  Result<void> flush(Way way, const Beside* beside);
  Result<void> copy(const Plan& plan, const SetPlan::Rows& rows);
  Result<void> step(Step step);
  Result<void> check_answers();
  Result<void> check(const Step& done, const pg::StepResult& answer);
  std::string describe(const Step& step) const;
  Result<const std::string*> prepared(Plan& plan, const std::string& shape,
                                      const std::function<Result<std::string>()>& text);
  // A relation that is described anew: what came before it is written first.
  Result<Plan*> plan_for(const RelationPtr& relation, Way way, const Beside* beside);
  // Null: the table was copied under the slot's snapshot.
  ChunkFilter* filter_of(const Relation& relation);
  // What of `change` the copy does not hold already: null, it, or a part of it kept in parts_.
  Result<const Change*> left_to_apply(const Change& change, std::uint32_t xid);
  Result<const Change*> whole(Change part, std::uint32_t xid, ChunkFilter& filter);

  pg::Connection& session_;
  const BatchWriterConfig config_;
  TablePlans& tables_;
  pg::Pipeline pipeline_;
  std::unordered_map<std::uint32_t, std::unique_ptr<Plan>> plans_;  // by the relation's id
  std::vector<std::unique_ptr<Plan>> former_plans_;  // described anew since; until the next write()
  int next_statement_ = 0;
  std::vector<Item> items_;  // not written yet
  ChunkFilters filters_;
  std::optional<pg::Connection> source_;
  std::deque<std::deque<std::string>> refetched_;  // bytes of parts_
  // What rows copied again since the last write() were filtered by before.
  struct FormerRow {
    ChunkFilter* filter;
    std::string row;
    std::optional<SnapshotFilter> snapshot;
  };
  std::vector<FormerRow> former_rows_;
  std::deque<Change> parts_;  // of rows that moved between pieces of a copy; until the next write()
  std::vector<Plan*> in_use_;  // with something in `net`
  std::deque<Step> steps_;     // not answered yet
  std::optional<Step> failed_;
  bool failed_on_rows_ = false;
  std::int64_t rows_ = 0;
};

}  // namespace banyan::replication
