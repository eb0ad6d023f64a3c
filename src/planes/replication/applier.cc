#include "planes/replication/applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/act_rules.h"
#include "planes/replication/batch_touch.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kSegmentBytes = 4 << 20;
constexpr auto kLearnEvery = 50ms;
constexpr std::size_t kAlarmsKept = 100;
constexpr std::size_t kDdlKept = 50;
constexpr std::size_t kShownRowBytes = 400;
constexpr auto kKeepPositionEvery = 10s;
constexpr auto kLanesKept = 10s;  // after the last time they were needed
constexpr int kLanesMost = 4;     // unless somebody says so

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

ApplySessionConfig session_config(const ApplierConfig& config, const Claim& claim) {
  return {.migration = config.migration,
          .stream = stream_name(config.migration, config.from),
          .epoch = claim.epoch,
          .way = config.way};
}

int lanes_wanted(const Effort& effort) {
  if (effort.connections != 0) return effort.connections;
  return std::min(kLanesMost, static_cast<int>(std::thread::hardware_concurrency()));
}

// A killed predecessor's sessions may still work on their last statements, holding rows.
Result<void> end_predecessor(pg::Connection& session, const std::string& stream) {
  TRY_VOID(
      session.query("select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity "
                    "where application_name = pg_catalog.left($1, 63) "
                    "and usename = current_user and datname = pg_catalog.current_database() "
                    "and pid <> pg_catalog.pg_backend_pid()",
                    {"banyan_apply " + stream}));
  return {};
}

}  // namespace

Result<std::unique_ptr<Applier>> Applier::open(const ApplierConfig& config,
                                               Guarded<ApplyShared>& shared) {
  const auto stream = stream_name(config.migration, config.from);
  TRY(auto session, ApplySession::connect(config.to_url, config.migration, stream));
  TRY_VOID(end_predecessor(session, stream));
  // What a predecessor committed is on disk with the claim.
  TRY_VOID(session.exec("set synchronous_commit = on"));
  TRY(const auto claim, claim_progress(session, stream));
  TRY_VOID(config.proof->claimed(stream, claim.epoch));
  TRY_VOID(session.exec("set synchronous_commit = off"));
  TRY(const auto shown, session.query("show session_replication_role"));
  const auto role =
      shown.text(0, 0) == "replica" ? SetPlan::Role::kReplica : SetPlan::Role::kOrigin;
  auto applier = std::make_unique<Applier>(config, shared, std::move(session), claim, role);
  shared.change([](ApplyShared& before) { before.ddl_stop.reset(); });
  applier->publish_progress({});
  return applier;
}

Applier::Applier(const ApplierConfig& config, Guarded<ApplyShared>& shared, pg::Connection session,
                 Claim claim, SetPlan::Role role)
    : config_(config),
      shared_(shared),
      claim_(claim),
      plans_(config.to_url, config.direction.mapping, role),
      session_(std::move(session), session_config(config_, claim), plans_,
               {.from_url = config_.from_url,
                .stream = stream_name(config_.migration, config_.from),
                .filters = config_.filters}),
      gate_({.from_url = config_.from_url,
             .to_url = config_.to_url,
             .direction = config_.direction,
             .policy = config_.ddl}),
      given_(claim.applied),
      passed_(claim.applied),
      position_(claim.applied),
      last_commit_(claim.applied),  // at the latest
      durable_(claim.applied) {}

void Applier::publish_progress(ApplyLanes::Committed done) {
  shared_.change([&](ApplyShared& shared) {
    shared.applied = claim_.applied;
    shared.position = position_;
    shared.last_commit = last_commit_;
    if (done.batch.time_us != 0) shared.applied_time_us = done.batch.time_us;
    shared.transactions += done.batch.transactions;
    shared.batches += done.batch.transactions > 0 ? 1 : 0;
    shared.batches_row_by_row += done.row_by_row;
    shared.batches_beside += done.is_beside ? 1 : 0;
    shared.batches_again += done.is_again ? 1 : 0;
    shared.rows += done.rows;
    shared.misfit.reset();
  });
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
  TRY_VOID(drain_lanes());
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
  if (config_.copies.empty()) {  // otherwise sift() asks, if need be
    TRY(const bool admitted, admit(stop));
    is_skipping_ = !admitted;
  }
  const bool is_plain = fragment.is_last && fragment.ddl.empty();
  return is_skipping_ || is_plain ? Result<void>() : begin_alone(fragment, stop);
}

// A transaction with which a batch has to begin: a large one, or one that changed the schema.
Result<void> Applier::begin_alone(const Fragment& fragment, const std::stop_token& stop) {
  TRY_VOID(commit_batch());
  if (fragment.is_last) return meet_ddl({fragment.commit, fragment.ddl}, stop);
  const auto known = shared_.with([&](const ApplyShared& shared) { return shared.ddl_ahead; });
  is_ddl_met_ = false;
  ahead_.reset();
  const bool was_read = known && known->commit == fragment.commit;
  return was_read ? meet_ddl(*known, stop) : Result<void>();
}

Result<void> Applier::meet_ddl(const DdlTransaction& ddl, const std::stop_token& stop) {
  TRY_VOID(drain_lanes());
  TRY_VOID(fail_point("ddl.met"));
  DdlGate::Among among;
  if (!config_.copies.empty()) {
    if (!is_admitted_) {
      TRY(is_admitted_, admit(stop));
    }
    if (!*is_admitted_) among = config_.copies;
  }
  TRY(auto outcome, gate_.pass(ddl, among));
  shared_.change([&](ApplyShared& shared) {
    std::erase_if(shared.ddl, [&](const DdlNote& note) { return note.commit == ddl.commit; });
    std::ranges::move(outcome.notes, std::back_inserter(shared.ddl));
    while (shared.ddl.size() > kDdlKept) shared.ddl.pop_front();
    if (outcome.stop) shared.ddl_stop = ddl;
  });
  if (outcome.stop) return std::unexpected(*std::move(outcome.stop));
  TRY_VOID(fail_point("ddl.passed"));
  batch_.has_ddl = true;
  is_ddl_met_ = true;
  return {};
}

// Nothing of it is written; the stream begins again before it and then knows.
Result<void> Applier::read_ahead(Fragment fragment) {
  if (!ahead_) ahead_ = DdlTransaction{.commit = fragment.commit, .entries = {}};
  if (session_.is_in_batch()) TRY_VOID(session_.roll_back());
  batch_ = {};
  std::ranges::move(fragment.ddl, std::back_inserter(ahead_->entries));
  if (!fragment.is_last) return {};
  shared_.change([&](ApplyShared& shared) { shared.ddl_ahead = std::exchange(ahead_, {}); });
  return failure(Code::kUnavailable,
                 "a large transaction changes the schema: it is read again from its beginning",
                 Retry::kSafe);
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
    const bool is_alarming = fragment.commit >= claim_.applied && !fragment.changes.empty();
    if (is_alarming) raise_alarm(fragment);
    return fragment.is_last ? take_position(fragment.end, stop) : Result<void>();
  }
  const bool tells_ddl = !fragment.ddl.empty() && !(fragment.is_first && fragment.is_last);
  if (ahead_ || (tells_ddl && !is_ddl_met_)) return read_ahead(std::move(fragment));
  if (!config_.copies.empty()) TRY_VOID(sift(fragment, stop));
  batch_.bytes += fragment.bytes;
  batch_.changes += fragment.changes.size();
  if (fragment.is_last) {
    batch_.end = fragment.end;
    batch_.commit = fragment.commit;
    batch_.time_us = fragment.commit_time_us;
    ++batch_.transactions;
    if (fragment.barrier_epoch) batch_.barrier = fragment.barrier_epoch;
  }
  batch_.fragments.push_back(std::move(fragment));
  const bool is_large = batch_.bytes >= kSegmentBytes;
  if (in_transaction_) return is_large ? write(nullptr) : Result<void>();
  const bool is_full = is_large || batch_.transactions >= config_.effort.batch_transactions;
  return is_full || batch_.is_alone() ? commit_batch() : Result<void>();
}

bool Applier::is_far_behind() const {
  return (now_us() - batch_.time_us) / 1000 >= to_ms(config_.effort.far_behind);
}

bool Applier::is_catching_up() const {
  const bool is_busy = has_batch() || (lanes_ && !lanes_->is_empty());
  return is_busy && !in_transaction_ && is_far_behind();
}

Result<void> Applier::take_position(pg::Lsn end, const std::stop_token& stop) {
  if (end <= passed_) return {};
  passed_ = end;
  if (has_batch() && !in_transaction_) batch_.end = std::max(batch_.end, end);
  TRY_VOID(stand_at_line(end, stop));
  if (has_batch() || (lanes_ && !lanes_->is_empty())) return {};
  position_ = std::max(position_, end);
  // The server had nothing more to send: from here on lag is counted anew.
  shared_.change([&](ApplyShared& shared) {
    shared.position = position_;
    shared.applied_time_us = now_us();
  });
  return {};
}

// Before anything of the batch is written.
Result<void> Applier::touch() {
  const auto most = config_.proof->is_watching() ? SIZE_MAX : Proof::kLastKeys;
  TRY(const auto tables, touched_by(batch_.fragments, plans_, config_.from, most));
  return config_.proof->touch(tables);
}

Result<void> Applier::write(const Move* move) {
  TRY_VOID(touch());
  TRY_VOID(drain_lanes());
  const auto written = session_.write(batch_, move);
  if (!written) {
    auto misfit = session_.misfit();
    shared_.change([&](ApplyShared& shared) { shared.misfit = std::move(misfit); });
    return written;
  }
  batch_.fragments.clear();
  batch_.changes = 0;
  batch_.bytes = 0;
  return {};
}

Move Applier::move() const {
  return {.from = given_,
          .to = batch_.end,
          .barrier_epoch = claim_.barrier_epoch,
          .barrier = batch_.barrier};
}

Result<void> Applier::commit_batch() {
  if (!has_batch() || in_transaction_) return {};
  if (auto touched = footprint()) return give_to_lanes(*std::move(touched));
  return write_alone();
}

Result<void> Applier::write_alone() {
  if (batch_.barrier) is_trusted_ = false;
  const auto moving = move();
  TRY_VOID(write(&moving));
  TRY(const auto log, session_.commit());
  given_ = batch_.end;
  note_committed({.batch = std::exchange(batch_, {}),
                  .log = log,
                  .rows = session_.take_rows(),
                  .row_by_row = session_.take_row_by_row()});
  return {};
}

void Applier::note_committed(ApplyLanes::Committed done) {
  claim_.applied = done.batch.end;
  claim_.barrier_epoch = done.batch.barrier.value_or(claim_.barrier_epoch);
  position_ = std::max(position_, done.batch.end);
  last_commit_ = std::max(last_commit_, done.batch.commit);
  last_kept_ = SystemClock().now();
  not_durable_.emplace_back(done.batch.end, done.log.inserted);
  learn_durable(done.log.flushed);
  publish_progress(std::move(done));
}

std::optional<Footprint> Applier::footprint() const {
  if (lanes_wanted(config_.effort) < 2 || config_.way != BatchWriter::Way::kSets ||
      session_.is_in_batch() || batch_.is_alone() || !is_far_behind()) {
    return std::nullopt;
  }
  Footprint out;
  for (const auto& fragment : batch_.fragments) {
    for (const auto& change : fragment.changes) {
      const auto* plan =
          change.operation == Operation::kTruncate ? nullptr : plans_.known(change.relation);
      const bool is_known = plan != nullptr &&
                            plan->footprint.grain() != TableFootprint::Grain::kAlone &&
                            !config_.filters.contains(plan->relation->display());
      if (!is_known) return std::nullopt;
      plan->footprint.add(change, out);
    }
  }
  return out;
}

Result<void> Applier::give_to_lanes(Footprint footprint) {
  if (!lanes_) {
    TRY(lanes_, ApplyLanes::open(config_.to_url, session_config(config_, claim_),
                                 lanes_wanted(config_.effort), plans_));
  }
  TRY_VOID(touch());
  last_far_behind_ = SystemClock().now();
  const auto moving = move();
  given_ = batch_.end;
  return of_lanes(lanes_->give(std::exchange(batch_, {}), std::move(footprint), moving));
}

Result<void> Applier::drain_lanes() {
  return lanes_ ? of_lanes(lanes_->drain()) : Result<void>();
}

Result<void> Applier::of_lanes(Result<void> done) {
  for (auto& committed : lanes_->take_committed()) note_committed(std::move(committed));
  if (!done) {
    shared_.change([&](ApplyShared& shared) { shared.misfit = lanes_->misfit(); });
    return done;
  }
  if (lanes_->is_empty() && !has_batch()) position_ = std::max(position_, passed_);
  return done;
}

void Applier::learn_durable(pg::Lsn flushed) {
  while (!not_durable_.empty() && not_durable_.front().second <= flushed) {
    durable_ = not_durable_.front().first;
    not_durable_.pop_front();
  }
}

Result<void> Applier::keep_position() {
  const auto now = SystemClock().now();
  if (position_ <= claim_.applied || now - last_kept_ < kKeepPositionEvery) return {};
  batch_.end = position_;
  return write_alone();
}

Result<void> Applier::idle(const std::stop_token& stop) {
  TRY_VOID(commit_batch());
  TRY_VOID(drain_lanes());
  if (in_transaction_) return {};
  TRY_VOID(stand_at_line(position_, stop));
  TRY_VOID(keep_position());
  const auto now = SystemClock().now();
  if (lanes_ && now - last_far_behind_ > kLanesKept) lanes_.reset();
  if (not_durable_.empty() || now - last_learned_ < kLearnEvery) return {};
  last_learned_ = now;
  TRY(const auto log, session_.log_positions());
  learn_durable(log.flushed);
  return {};
}

}  // namespace banyan::replication
