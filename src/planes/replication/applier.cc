#include "planes/replication/applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/log.h"
#include "planes/replication/act_rules.h"

namespace banyan::replication {
namespace {

constexpr int kBatchTransactions = 200;
constexpr std::size_t kBatchBytes = 4 << 20;
constexpr std::size_t kTouchedKept = 4000;
constexpr std::size_t kTouchedPerBatch = 200;  // a sample when there is much to catch up
constexpr std::size_t kAlarmsKept = 100;
constexpr auto kKeepPositionEvery = 10s;
constexpr const char* kPositions =
    "select pg_catalog.pg_current_wal_insert_lsn()::text || ' ' || "
    "pg_catalog.pg_current_wal_flush_lsn()::text";

// Microseconds since 2000-01-01, as commit times are.
std::int64_t now_us() {
  constexpr std::int64_t kEpochGap = 946'684'800'000'000;
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since).count() - kEpochGap;
}

std::string_view operation_name(Operation operation) {
  switch (operation) {
    case Operation::kInsert:
      return "insert into";
    case Operation::kUpdate:
      return "update of";
    case Operation::kDelete:
      return "delete from";
    case Operation::kTruncate:
      return "truncate of";
  }
  return "";
}

// Key columns may have types of extensions, whose operators must be found.
constexpr const char* kExtensionSchemas = R"sql(
select coalesce(string_agg(distinct pg_catalog.quote_ident(n.nspname), ','), '')
from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where n.nspname <> 'pg_catalog')sql";

Result<void> prepare_session(pg::Connection& session, const std::string& migration) {
  TRY_VOID(pass_fence(session, migration));
  // Not everybody may; without it user triggers and foreign keys are kept away until the opening.
  if (!session.exec("set session_replication_role = replica")) {
    log_info("applying without replica role", {{"migration", migration}});
  }
  TRY(const auto schemas, session.query(kExtensionSchemas));
  const auto path = schemas.text(0, 0).empty() ? "pg_catalog" : "pg_catalog," + schemas.str(0, 0);
  if (session.server_version() >= 120000) {
    TRY_VOID(session.exec("set plan_cache_mode = force_generic_plan"));
  }
  return session.exec(
      "set jit = off; set synchronous_commit = off; set enable_seqscan = off;"
      "set enable_hashjoin = off; set enable_mergejoin = off; set search_path = " +
      path);
}

// A killed predecessor's session may still work on its last statement, holding the progress row.
Result<void> end_predecessor(pg::Connection& session, const std::string& application) {
  TRY_VOID(
      session.query("select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity "
                    "where application_name = pg_catalog.left($1, 63) "
                    "and usename = current_user and datname = pg_catalog.current_database() "
                    "and pid <> pg_catalog.pg_backend_pid()",
                    {application}));
  return {};
}

Error wrong_count(const std::string& what, std::int64_t count) {
  return Error(Code::kCorruption, fmt::format("{} met {} rows instead of one", what, count))
      .with_remedy(
          "Somebody else wrote to the applying side, or it is not a true copy. Run verify; "
          "nothing of this transaction was applied.");
}

}  // namespace

Result<std::unique_ptr<Applier>> Applier::open(const ApplierConfig& config,
                                               Guarded<ApplyShared>& shared) {
  const auto application = "banyan_apply " + stream_name(config.migration, config.from);
  TRY(auto session, pg::Connection::open(config.to_url, {.application_name = application}));
  TRY_VOID(end_predecessor(session, application));
  TRY_VOID(prepare_session(session, config.migration));
  TRY(const auto claim, claim_progress(session, stream_name(config.migration, config.from)));
  auto applier = std::make_unique<Applier>(config, shared, std::move(session), claim);
  TRY(const auto role, applier->session_.query("show session_replication_role"));
  applier->is_replica_ = role.text(0, 0) == "replica";
  applier->position_ = claim.applied;
  applier->durable_ = claim.applied;
  applier->last_commit_ = claim.applied;  // at the latest
  applier->publish_progress();
  return applier;
}

void Applier::publish_progress() {
  shared_.change([&](ApplyShared& shared) {
    shared.applied = claim_.applied;
    shared.position = position_;
    shared.last_commit = last_commit_;
    if (batch_time_us_ != 0) shared.applied_time_us = batch_time_us_;
    shared.transactions += batch_transactions_;
    shared.rows += batch_rows_;
    for (auto& key : touched_) shared.touched.push_back(std::move(key));
    while (shared.touched.size() > kTouchedKept) shared.touched.pop_front();
  });
  touched_.clear();
  batch_transactions_ = 0;
  batch_rows_ = 0;
  batch_bytes_ = 0;
}

Result<pg::Connection*> Applier::arbiter() {
  if (!arbiter_) {
    TRY(auto opened,
        pg::Connection::open(config_.from_url, {.application_name = "banyan_arbiter"}));
    arbiter_ = std::move(opened);
  }
  return &*arbiter_;
}

Result<Applier::Admission> Applier::admission() {
  TRY(auto* db, arbiter());
  TRY(const auto rows,
      db->query("select state, epoch from banyan.migration where name = $1", {config_.migration}));
  if (rows.size() != 1) return failure(Code::kNotFound, "the arbiter row is gone");
  const auto state = parse_row_state(rows.text(0, 0));
  if (!state) return failure(Code::kCorruption, "unknown state in banyan.migration");
  if (*state == RowState::kRunning) return Admission::kApply;
  if (*state != RowState::kFenced) return Admission::kAlarm;
  return claim_.barrier_epoch < rows.integer(0, 1) ? Admission::kApply : Admission::kWait;
}

Result<bool> Applier::admit(const std::stop_token& stop) {
  if (is_trusted_) return true;
  while (!stop.stop_requested()) {
    TRY(const auto verdict, admission());
    if (verdict == Admission::kAlarm) return false;
    if (verdict == Admission::kApply) {
      is_trusted_ = true;
      return true;
    }
    std::this_thread::sleep_for(10ms);
  }
  return failure(Code::kCancelled, "stopped");
}

void Applier::raise_alarm(const Fragment& fragment) {
  shared_.change([&](ApplyShared& shared) {
    for (const auto& change : fragment.changes) {
      ++shared.alarms_total;
      const auto table = change.relation ? change.relation->display() : "several tables";
      shared.alarms.push_back({.table = table,
                               .operation = std::string(operation_name(change.operation)),
                               .xid = fragment.xid,
                               .lsn = pg::format_lsn(fragment.commit)});
      if (shared.alarms.size() > kAlarmsKept) shared.alarms.pop_front();
    }
  });
  log_error("a side that may not be written was written",
            {{"migration", config_.migration},
             {"side", side_name(config_.from)},
             {"changes", fragment.changes.size()},
             {"lsn", pg::format_lsn(fragment.commit)}});
}

Result<void> Applier::stand_at_line(pg::Lsn upcoming, const std::stop_token& stop) {
  const auto is_beyond = [upcoming](const ApplyShared& shared) {
    return shared.line && upcoming >= *shared.line;
  };
  if (!shared_.with(is_beyond)) return {};
  TRY_VOID(commit_batch());
  // The line may move on: then what lies before the new one is applied.
  while (!stop.stop_requested() && shared_.with(is_beyond)) {
    shared_.change([&](ApplyShared& shared) { shared.is_at_line = is_beyond(shared); });
    shared_.wait_for(
        100ms, [&](const ApplyShared& shared) { return !is_beyond(shared) || !shared.is_at_line; });
  }
  return {};
}

Result<void> Applier::begin_transaction(const Fragment& fragment, const std::stop_token& stop) {
  is_skipping_ = fragment.commit < claim_.applied;
  if (is_skipping_) return {};
  TRY_VOID(stand_at_line(fragment.commit, stop));
  TRY(const bool admitted, admit(stop));
  is_skipping_ = !admitted;
  return {};
}

Result<void> Applier::take(const Fragment& fragment, const std::stop_token& stop) {
  if (!fragment.is_transaction) return take_position(fragment.end, stop);
  if (fragment.is_first) TRY_VOID(begin_transaction(fragment, stop));
  in_transaction_ = !fragment.is_last;
  if (is_skipping_) {
    if (fragment.commit >= claim_.applied) raise_alarm(fragment);
    return fragment.is_last ? take_position(fragment.end, stop) : Result<void>();
  }
  TRY_VOID(begin_batch());
  for (const auto& change : fragment.changes) TRY_VOID(apply(change, fragment));
  batch_bytes_ += fragment.bytes;
  if (!fragment.is_last) return check_answers();
  if (fragment.barrier_epoch) TRY_VOID(barrier(*fragment.barrier_epoch));
  batch_end_ = fragment.end;
  batch_commit_ = fragment.commit;
  batch_time_us_ = fragment.commit_time_us;
  const bool is_full = ++batch_transactions_ >= kBatchTransactions || batch_bytes_ >= kBatchBytes;
  return is_full || fragment.barrier_epoch ? commit_batch() : Result<void>();
}

Result<void> Applier::take_position(pg::Lsn end, const std::stop_token& stop) {
  if (end <= position_) return {};
  if (in_batch_ && !in_transaction_) batch_end_ = std::max(batch_end_, end);
  TRY_VOID(stand_at_line(end, stop));
  if (in_batch_) return {};
  position_ = std::max(position_, end);
  // The server had nothing more to send: from here on lag is counted anew.
  shared_.change([&](ApplyShared& shared) {
    shared.position = position_;
    shared.applied_time_us = now_us();
  });
  return {};
}

Result<void> Applier::begin_batch() {
  if (in_batch_) return {};
  in_batch_ = true;
  TRY_VOID(pipeline_.query("begin"));
  TRY_VOID(step(
      {.what = "begin", .plan = nullptr, .operation = {}, .commit = {}, .expect = Expect::kAny}));
  const auto stream = stream_name(config_.migration, config_.from);
  const auto epoch = std::to_string(claim_.epoch);
  const auto applied = pg::format_lsn(claim_.applied);
  const std::array<pg::RawParam, 3> params{stream.c_str(), epoch.c_str(), applied.c_str()};
  TRY_VOID(pipeline_.query(mark_sql(), params));
  return step(
      {.what = "claim", .plan = nullptr, .operation = {}, .commit = {}, .expect = Expect::kOne});
}

Result<void> Applier::step(Step step) {
  steps_.push_back(std::move(step));
  return steps_.size() >= 2048 ? check_answers() : Result<void>();
}

bool Applier::is_copied_already(const Relation& relation, std::uint32_t xid) const {
  if (config_.filters.empty()) return false;
  const auto found = config_.filters.find(relation.display());
  return found != config_.filters.end() && found->second.has_seen(xid);
}

Result<Applier::Plan*> Applier::plan_for(const RelationPtr& relation) {
  if (const auto found = plans_.find(relation.get()); found != plans_.end()) {
    return found->second.get();
  }
  if (!catalog_) {
    TRY(auto opened, pg::Connection::open(config_.to_url, {.application_name = "banyan_catalog"}));
    catalog_ = std::move(opened);
  }
  TRY(auto table, read_table(*catalog_, relation->schema, relation->name));
  TRY(const bool cascades, is_cascaded_to(table));
  TRY(auto row, RowPlan::create(*relation, std::move(table)));
  auto plan = std::make_unique<Plan>(Plan{relation, std::move(row), {}, cascades});
  return (plans_[relation.get()] = std::move(plan)).get();
}

Result<bool> Applier::is_cascaded_to(const Table& table) {
  if (is_replica_) return false;
  TRY(const auto rows, catalog_->query("select 1 from pg_catalog.pg_constraint where contype = 'f' "
                                       "and conrelid = $1::oid and confdeltype = 'c'",
                                       {std::to_string(table.oid)}));
  return !rows.empty();
}

Result<void> Applier::apply(const Change& change, const Fragment& fragment) {
  if (change.operation == Operation::kTruncate) return truncate(change, fragment);
  if (is_copied_already(*change.relation, fragment.xid)) return {};
  TRY(auto* plan, plan_for(change.relation));
  TRY(const auto statement, plan->row.statement(change, Text::kNo));
  if (!statement.is_needed) return {};
  ++batch_rows_;
  note_touched(*plan, change);
  return run(*plan, statement, change, fragment.commit);
}

Result<void> Applier::run(Plan& plan, const RowStatement& statement, const Change& change,
                          pg::Lsn commit) {
  auto& name = plan.statements[statement.shape];
  if (name.empty()) {
    TRY(const auto written, plan.row.statement(change, Text::kYes));
    name = fmt::format("b{}", ++next_statement_);
    TRY_VOID(pipeline_.prepare(name, written.sql));
    TRY_VOID(step({.what = {},
                   .plan = &plan.row,
                   .operation = change.operation,
                   .commit = commit,
                   .expect = Expect::kAny}));
  }
  std::vector<pg::RawParam> params;
  params.reserve(statement.params.size());
  for (const auto* cell : statement.params) {
    params.push_back(cell->kind == pg::CellKind::kText ? cell->bytes.data() : nullptr);
  }
  TRY_VOID(pipeline_.execute(name, params));
  const bool may_be_gone = plan.is_cascaded_to && change.operation == Operation::kDelete;
  return step({.what = {},
               .plan = &plan.row,
               .operation = change.operation,
               .commit = commit,
               .expect = may_be_gone ? Expect::kAtMostOne : Expect::kOne});
}

Result<void> Applier::truncate(const Change& change, const Fragment& fragment) {
  std::string list;
  for (const auto& relation : change.truncated) {
    if (is_copied_already(*relation, fragment.xid)) continue;
    list += fmt::format("{}only {}", list.empty() ? "" : ", ",
                        pg::quote_qualified(relation->schema, relation->name));
  }
  if (list.empty()) return {};
  TRY_VOID(pipeline_.query(
      fmt::format("truncate {}{}", list, change.restart_identity ? " restart identity" : "")));
  return step({.what = "truncate " + list,
               .plan = nullptr,
               .operation = Operation::kTruncate,
               .commit = fragment.commit,
               .expect = Expect::kAny});
}

Result<void> Applier::barrier(std::int64_t epoch) {
  batch_barrier_ = epoch;
  is_trusted_ = false;
  TRY_VOID(pipeline_.query("set local synchronous_commit = on"));
  TRY_VOID(step(
      {.what = "barrier", .plan = nullptr, .operation = {}, .commit = {}, .expect = Expect::kAny}));
  const auto text = std::to_string(epoch);
  const std::array<pg::RawParam, 2> params{config_.migration.c_str(), text.c_str()};
  TRY_VOID(
      pipeline_.query("insert into banyan.barrier(name, epoch) values ($1, $2::bigint) "
                      "on conflict do nothing",
                      params));
  return step(
      {.what = "barrier", .plan = nullptr, .operation = {}, .commit = {}, .expect = Expect::kAny});
}

void Applier::note_touched(const Plan& plan, const Change& change) {
  if (touched_.size() >= kTouchedPerBatch || plan.row.key_columns().empty()) return;
  const auto cells = plan.row.key_cells(change);
  TouchedKey key{.schema = plan.relation->schema,
                 .table = plan.relation->name,
                 .columns = plan.row.key_columns(),
                 .values = {}};
  for (const auto* cell : cells) key.values.emplace_back(cell->bytes);
  touched_.push_back(std::move(key));
}

Result<void> Applier::check_answers() {
  for (const auto& answer : pipeline_.results()) {
    if (steps_.empty()) return failure(Code::kInternal, "more answers than statements");
    const Step done = std::move(steps_.front());
    steps_.pop_front();
    const auto what =
        done.plan == nullptr
            ? done.what
            : fmt::format("{} {} of the source transaction at {}", operation_name(done.operation),
                          done.plan->table().display(), pg::format_lsn(done.commit));
    if (!answer.sqlstate.empty()) {
      return failure(pg::code_from_sqlstate(answer.sqlstate),
                     fmt::format("{}: {} [{}]", what, answer.message, answer.sqlstate));
    }
    if (answer.skipped) return failure(Code::kInternal, "a statement was skipped: " + what);
    if (!answer.first_value.empty()) last_value_ = answer.first_value;
    if (done.expect == Expect::kAny || answer.affected == 1) continue;
    if (done.expect == Expect::kAtMostOne && answer.affected == 0) continue;
    if (done.plan != nullptr) return std::unexpected(wrong_count(what, answer.affected));
    return failure(Code::kUnavailable, "another applier has claimed the stream", Retry::kSafe);
  }
  pipeline_.forget_results();
  return {};
}

Result<void> Applier::commit_batch() {
  if (!in_batch_ || in_transaction_) return {};
  const auto stream = stream_name(config_.migration, config_.from);
  const auto epoch = std::to_string(claim_.epoch);
  const auto before = pg::format_lsn(claim_.applied);
  const auto after = pg::format_lsn(batch_end_);
  const auto barrier = std::to_string(batch_barrier_.value_or(claim_.barrier_epoch));
  const std::array<pg::RawParam, 5> params{stream.c_str(), epoch.c_str(), before.c_str(),
                                           after.c_str(), barrier.c_str()};
  TRY_VOID(pipeline_.query(advance_sql(), params));
  steps_.push_back({"claim", nullptr, {}, {}, Expect::kOne});
  // The server commits nothing when a statement failed, but a wrong count is seen only here: so the
  // commit waits for the answers.
  TRY_VOID(pipeline_.finish());
  TRY_VOID(check_answers());
  TRY(const auto positions, with_context(session_.query(fmt::format("commit; {}", kPositions)),
                                         "committing applied changes"));
  in_batch_ = false;
  claim_.applied = batch_end_;
  claim_.barrier_epoch = batch_barrier_.value_or(claim_.barrier_epoch);
  batch_barrier_.reset();
  position_ = std::max(position_, batch_end_);
  last_commit_ = std::max(last_commit_, batch_commit_);
  last_kept_ = SystemClock().now();
  publish_progress();
  const auto text = positions.str(0, 0);
  TRY(const auto inserted, pg::parse_lsn(std::string_view(text).substr(0, text.find(' '))));
  not_durable_.emplace_back(batch_end_, inserted);
  return learn_durable(text);
}

Result<void> Applier::learn_durable(const std::string& positions) {
  TRY(const auto flushed,
      pg::parse_lsn(std::string_view(positions).substr(positions.find(' ') + 1)));
  while (!not_durable_.empty() && not_durable_.front().second <= flushed) {
    durable_ = not_durable_.front().first;
    not_durable_.pop_front();
  }
  return {};
}

Result<void> Applier::keep_position() {
  const auto now = SystemClock().now();
  if (position_ <= claim_.applied || now - last_kept_ < kKeepPositionEvery) return {};
  TRY_VOID(begin_batch());
  batch_end_ = position_;
  batch_time_us_ = 0;
  return commit_batch();
}

Result<void> Applier::idle(const std::stop_token& stop) {
  TRY_VOID(commit_batch());
  if (in_transaction_) return {};
  TRY_VOID(stand_at_line(position_, stop));
  TRY_VOID(keep_position());
  if (not_durable_.empty()) return {};
  TRY(const auto positions, session_.query(kPositions));
  return learn_durable(positions.str(0, 0));
}

}  // namespace banyan::replication
