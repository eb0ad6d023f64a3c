#include "planes/replication/applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/act_rules.h"

namespace banyan::replication {
namespace {

constexpr int kBatchTransactions = 5000;
constexpr std::size_t kSegmentBytes = 4 << 20;
constexpr std::size_t kSetsLeast = 16;  // fewer changes are cheaper one by one
constexpr std::int64_t kBehindUs = 1'000'000;
constexpr auto kLearnEvery = 50ms;
constexpr std::size_t kTouchedKept = 4000;
constexpr std::size_t kAlarmsKept = 100;
constexpr std::size_t kShownRowBytes = 400;
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

// What the stream says of the row: the new one, or of a deleted one its key.
std::string shown_row(const Change& change) {
  if (!change.relation) return "";
  const auto& cells = change.operation == Operation::kDelete ? change.old_row : change.row;
  std::string text;
  for (std::size_t at = 0; at < cells.size() && at < change.relation->columns.size(); at++) {
    if (cells[at].kind == pg::CellKind::kUnchangedToast) continue;
    const bool is_null = cells[at].kind == pg::CellKind::kNull;
    const auto& column = change.relation->columns[at];
    if (is_null && change.operation == Operation::kDelete && !column.is_key) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", column.name,
                        is_null ? "NULL" : cells[at].bytes);
    if (text.size() > kShownRowBytes) break;
  }
  return text.substr(0, kShownRowBytes);
}

// The part of a change that is of `tables`, or of all others; nothing when there is none.
enum class Part : std::uint8_t { kOfTables, kOfOthers };
std::optional<Change> part_of(const Change& change, const std::set<std::string>& tables,
                              Part part) {
  const auto is_wanted = [&](const RelationPtr& relation) {
    return tables.contains(relation->display()) == (part == Part::kOfTables);
  };
  if (change.operation != Operation::kTruncate) {
    return is_wanted(change.relation) ? std::optional(change) : std::nullopt;
  }
  Change left = change;
  std::erase_if(left.truncated, [&](const RelationPtr& one) { return !is_wanted(one); });
  return left.truncated.empty() ? std::nullopt : std::optional(std::move(left));
}

std::vector<Change> parts_of(const std::vector<Change>& changes,
                             const std::set<std::string>& tables, Part part) {
  std::vector<Change> parts;
  for (const auto& change : changes) {
    if (auto left = part_of(change, tables, part)) parts.push_back(*std::move(left));
  }
  return parts;
}

Result<void> prepare_session(pg::Connection& session, const std::string& migration) {
  TRY_VOID(pass_fence(session, migration));
  // Not everybody may; without it user triggers and foreign keys are kept away until the opening.
  if (!session.exec("set session_replication_role = replica")) {
    log_info("applying without replica role", {{"migration", migration}});
  }
  TRY_VOID(find_extension_operators(session));
  if (session.server_version() >= 110000) TRY_VOID(session.exec("set jit = off"));
  if (session.server_version() >= 120000) {
    TRY_VOID(session.exec("set plan_cache_mode = force_generic_plan"));
  }
  return session.exec(
      "set synchronous_commit = off; set enable_seqscan = off;"
      "set enable_hashjoin = off; set enable_mergejoin = off");
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

}  // namespace

Result<std::unique_ptr<Applier>> Applier::open(const ApplierConfig& config,
                                               Guarded<ApplyShared>& shared) {
  const auto application = "banyan_apply " + stream_name(config.migration, config.from);
  TRY(auto session, pg::Connection::open(config.to_url, {.application_name = application}));
  TRY_VOID(end_predecessor(session, application));
  TRY_VOID(prepare_session(session, config.migration));
  TRY(const auto claim, claim_progress(session, stream_name(config.migration, config.from)));
  TRY(const auto shown, session.query("show session_replication_role"));
  const auto role =
      shown.text(0, 0) == "replica" ? SetPlan::Role::kReplica : SetPlan::Role::kOrigin;
  auto applier = std::make_unique<Applier>(config, shared, std::move(session), claim, role);
  applier->position_ = claim.applied;
  applier->durable_ = claim.applied;
  applier->last_commit_ = claim.applied;  // at the latest
  applier->publish_progress();
  return applier;
}

Applier::Applier(const ApplierConfig& config, Guarded<ApplyShared>& shared, pg::Connection session,
                 Claim claim, SetPlan::Role role)
    : config_(config),
      shared_(shared),
      session_(std::move(session)),
      claim_(claim),
      writer_(session_, {.to_url = config.to_url,
                         .from_url = config.from_url,
                         .stream = stream_name(config.migration, config.from),
                         .filters = config.filters,
                         .mapping = config.mapping,
                         .role = role}) {}

void Applier::publish_progress() {
  shared_.change([&](ApplyShared& shared) {
    shared.applied = claim_.applied;
    shared.position = position_;
    shared.last_commit = last_commit_;
    if (batch_time_us_ != 0) shared.applied_time_us = batch_time_us_;
    shared.transactions += batch_transactions_;
    shared.batches += batch_transactions_ > 0 ? 1 : 0;
    shared.rows += writer_.take_rows();
    shared.misfit.reset();
    for (auto& key : writer_.take_touched()) shared.touched.push_back(std::move(key));
    while (shared.touched.size() > kTouchedKept) shared.touched.pop_front();
  });
  batch_transactions_ = 0;
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
                               .row = shown_row(change),
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
  is_admitted_.reset();
  if (!config_.copies.empty()) return {};  // sift() asks, if need be
  TRY(const bool admitted, admit(stop));
  is_skipping_ = !admitted;
  return {};
}

// Leaves what may be applied in a transaction that may also hold changes of copies.
Result<void> Applier::sift(Fragment& fragment, const std::stop_token& stop) {
  const bool needs_verdict = std::ranges::any_of(fragment.changes, [&](const Change& change) {
    return part_of(change, config_.copies, Part::kOfOthers).has_value();
  });
  if (!needs_verdict) return {};
  if (!is_admitted_) {
    TRY(is_admitted_, admit(stop));
  }
  if (*is_admitted_) return {};
  Fragment refused = fragment;
  refused.changes = parts_of(fragment.changes, config_.copies, Part::kOfOthers);
  raise_alarm(refused);
  fragment.changes = parts_of(fragment.changes, config_.copies, Part::kOfTables);
  return {};
}

Result<void> Applier::take(Fragment fragment, const std::stop_token& stop) {
  if (!fragment.is_transaction) return take_position(fragment.end, stop);
  if (fragment.is_first) TRY_VOID(begin_transaction(fragment, stop));
  in_transaction_ = !fragment.is_last;
  if (is_skipping_) {
    if (fragment.commit >= claim_.applied) raise_alarm(fragment);
    return fragment.is_last ? take_position(fragment.end, stop) : Result<void>();
  }
  if (!config_.copies.empty()) TRY_VOID(sift(fragment, stop));
  open_bytes_ += fragment.bytes;
  open_changes_ += fragment.changes.size();
  if (fragment.is_last) {
    batch_end_ = fragment.end;
    batch_commit_ = fragment.commit;
    batch_time_us_ = fragment.commit_time_us;
    ++batch_transactions_;
    if (fragment.barrier_epoch) batch_barrier_ = fragment.barrier_epoch;
  }
  open_.push_back(std::move(fragment));
  const bool is_full = open_bytes_ >= kSegmentBytes || batch_transactions_ >= kBatchTransactions;
  if (in_transaction_)
    return open_bytes_ >= kSegmentBytes ? write_segment(Segment::kPart) : Result<void>();
  return is_full || batch_barrier_ ? commit_batch() : Result<void>();
}

bool Applier::is_catching_up() const {
  return has_batch() && !in_transaction_ && now_us() - batch_time_us_ > kBehindUs;
}

Result<void> Applier::take_position(pg::Lsn end, const std::stop_token& stop) {
  if (end <= position_) return {};
  if (has_batch() && !in_transaction_) batch_end_ = std::max(batch_end_, end);
  TRY_VOID(stand_at_line(end, stop));
  if (has_batch()) return {};
  position_ = std::max(position_, end);
  // The server had nothing more to send: from here on lag is counted anew.
  shared_.change([&](ApplyShared& shared) {
    shared.position = position_;
    shared.applied_time_us = now_us();
  });
  return {};
}

// The target transaction begins with the first segment; the others can be undone by themselves.
Result<void> Applier::begin_segment() {
  using Expect = BatchWriter::Expect;
  if (has_segments_) return writer_.send("savepoint", "savepoint segment", {}, Expect::kAny);
  TRY_VOID(writer_.send("begin", "begin", {}, Expect::kAny));
  const auto stream = stream_name(config_.migration, config_.from);
  const auto epoch = std::to_string(claim_.epoch);
  const auto applied = pg::format_lsn(claim_.applied);
  const std::array<pg::RawParam, 3> params{stream.c_str(), epoch.c_str(), applied.c_str()};
  return writer_.send("claim", mark_sql(), params, Expect::kOne);
}

Result<void> Applier::end_batch() {
  using Expect = BatchWriter::Expect;
  if (batch_barrier_) {
    TRY_VOID(fail_point("apply.barrier"));
    is_trusted_ = false;
    TRY_VOID(writer_.send("barrier", "set local synchronous_commit = on", {}, Expect::kAny));
    const auto text = std::to_string(*batch_barrier_);
    const std::array<pg::RawParam, 2> params{config_.migration.c_str(), text.c_str()};
    TRY_VOID(writer_.send("barrier",
                          "insert into banyan.barrier(name, epoch) values ($1, $2::bigint) "
                          "on conflict do nothing",
                          params, Expect::kAny));
  }
  const auto stream = stream_name(config_.migration, config_.from);
  const auto epoch = std::to_string(claim_.epoch);
  const auto before = pg::format_lsn(claim_.applied);
  const auto after = pg::format_lsn(batch_end_);
  const auto barrier = std::to_string(batch_barrier_.value_or(claim_.barrier_epoch));
  const std::array<pg::RawParam, 5> params{stream.c_str(), epoch.c_str(), before.c_str(),
                                           after.c_str(), barrier.c_str()};
  return writer_.send("claim", advance_sql(), params, Expect::kOne);
}

// The server commits nothing when a statement failed, but a wrong count is seen only here: so
// whatever follows waits for the answers.
Result<void> Applier::try_segment(Segment segment, BatchWriter::Way way) {
  TRY_VOID(begin_segment());
  TRY_VOID(fail_point("apply.begun"));
  TRY_VOID(writer_.write(open_, way));
  TRY_VOID(fail_point("apply.written"));
  if (segment == Segment::kLast) {
    TRY_VOID(end_batch());
  } else if (has_segments_) {
    TRY_VOID(writer_.send("savepoint", "release savepoint segment", {}, BatchWriter::Expect::kAny));
  }
  return writer_.settle();
}

Result<void> Applier::rewind() {
  TRY_VOID(writer_.reset());
  TRY_VOID(session_.exec(has_segments_ ? "rollback to savepoint segment" : "rollback"));
  if (has_segments_) TRY_VOID(session_.exec("release savepoint segment"));
  // Which of its statements the server knows cannot be told after a failure.
  return session_.exec("deallocate all");
}

Result<void> Applier::write_segment(Segment segment) {
  const bool is_small = open_changes_ < kSetsLeast && !has_segments_;
  const auto way = is_small ? BatchWriter::Way::kRows : config_.way;
  auto written = try_segment(segment, way);
  if (!written && way == BatchWriter::Way::kSets && writer_.failed_on_rows()) {
    log_info("a batch is applied row by row", {{"migration", config_.migration},
                                               {"changes", open_changes_},
                                               {"why", written.error().message()}});
    shared_.change([](ApplyShared& shared) { ++shared.batches_row_by_row; });
    TRY_VOID(rewind());
    written = try_segment(segment, BatchWriter::Way::kRows);
  }
  if (!written) {
    auto misfit = writer_.failed_on_rows() ? writer_.misfit() : std::nullopt;
    shared_.change([&](ApplyShared& shared) { shared.misfit = std::move(misfit); });
    return written;
  }
  has_segments_ = true;
  open_.clear();
  open_changes_ = 0;
  open_bytes_ = 0;
  return {};
}

Result<void> Applier::commit_batch() {
  if (!has_batch() || in_transaction_) return {};
  TRY_VOID(write_segment(Segment::kLast));
  TRY_VOID(fail_point("apply.before_commit"));
  return commit();
}

Result<void> Applier::commit() {
  TRY(const auto positions, with_context(session_.query(fmt::format("commit; {}", kPositions)),
                                         "committing applied changes"));
  TRY_VOID(fail_point("apply.committed"));
  has_segments_ = false;
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
  batch_end_ = position_;
  batch_time_us_ = 0;
  TRY_VOID(write_segment(Segment::kLast));
  return commit();
}

Result<void> Applier::idle(const std::stop_token& stop) {
  TRY_VOID(commit_batch());
  if (in_transaction_) return {};
  TRY_VOID(stand_at_line(position_, stop));
  TRY_VOID(keep_position());
  const auto now = SystemClock().now();
  if (not_durable_.empty() || now - last_learned_ < kLearnEvery) return {};
  last_learned_ = now;
  TRY(const auto positions, session_.query(kPositions));
  return learn_durable(positions.str(0, 0));
}

}  // namespace banyan::replication
