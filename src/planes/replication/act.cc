#include "planes/replication/act.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/sequence_rights.h"

namespace banyan::replication {
namespace {

constexpr int kFenceTries = 3;
constexpr auto kBetweenTries = 20ms;  // lets the writers queued behind the failed try through
constexpr auto kBarrierPoll = 1ms;
constexpr auto kArmPatience = 5s;  // since a table was armed the last time
constexpr auto kArmPass = 2s;
constexpr auto kArmLockTimeout = 200ms;  // how long writers of a table may wait behind a try
constexpr auto kBetweenArms = 100ms;
constexpr auto kDisarmPass = 1s;
constexpr auto kDisarmLockTimeout = 50ms;

std::string number(Epoch epoch) {
  return std::to_string(epoch.value());
}

// Sessions that hold locks with which the fence's SHARE ROW EXCLUSIVE conflicts.
constexpr std::string_view kBlockers = R"sql(
select distinct coalesce('pid ' || a.pid, 'prepared transaction') || ' (' ||
  coalesce(nullif(a.application_name, ''), a.backend_type, '?') || ', ' ||
  coalesce(a.state, '?') || ')'
from pg_locks l left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted
  and l.relation = any (pg_catalog.to_regclass({})::oid || '{{{}}}'::oid[])
  and l.database = (select oid from pg_database where datname = current_database())
  and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
                 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  and l.pid is distinct from pg_backend_pid() limit 5)sql";

Result<void> without_rows(Result<pg::Rows> result) {
  if (!result) return std::unexpected(std::move(result).error());
  return {};
}

}  // namespace

Result<pg::Connection*> Act::session(SideName side) {
  auto& kept = side == SideName::kOld ? old_session_ : new_session_;
  if (kept && kept->is_alive()) return &*kept;
  if (transaction_ == side) return failure(Code::kUnavailable, "the session ended", Retry::kSafe);
  pg::ConnectOptions options;
  options.application_name = "banyan_act";
  auto opened = pg::Connection::open(sides_.of(side), options);
  if (!opened) return std::unexpected(std::move(opened).error());
  kept = std::move(*opened);
  // What we commit here decides who may write: it must be on disk when we are told so.
  TRY_VOID(kept->exec("set synchronous_commit = on"));
  return &*kept;
}

Result<ArbiterRow> Act::row(SideName side) {
  TRY(auto* db, session(side));
  TRY(const auto rows,
      db->query("select state, epoch from banyan.migration where name = $1", {migration_}));
  if (rows.size() != 1) {
    return failure(Code::kNotFound, fmt::format("the {} database knows no migration {}",
                                                side_name(side), migration_));
  }
  const auto state = parse_row_state(rows.text(0, 0));
  if (!state) return failure(Code::kCorruption, "unknown state in banyan.migration");
  return ArbiterRow{*state, Epoch(rows.integer(0, 1))};
}

// A warm session may have died unnoticed: then a fresh one is asked.
Result<ArbiterRow> Act::fresh_row(SideName side) {
  auto found = row(side);
  if (found || found.error().code() != Code::kUnavailable) return found;
  return row(side);
}

Result<ArbiterRows> Act::rows() {
  TRY(const auto old_row, fresh_row(SideName::kOld));
  TRY(const auto new_row, fresh_row(SideName::kNew));
  return ArbiterRows{old_row, new_row};
}

Result<Standing> Act::state() {
  TRY(const auto both, rows());
  return standing(both);
}

Result<void> Act::in_transaction(SideName side, const std::string& settings, auto&& body) {
  TRY(auto* db, session(side));
  Result<void> done = db->exec("begin;" + settings);
  transaction_ = side;  // from here on a lost session is an error, never replaced
  if (done) done = body(*db);
  transaction_.reset();
  if (done) done = db->exec("commit");
  if (done) return {};
  (void)db->exec("rollback");  // if this fails too, the session is dead and so is its transaction
  if (!is_lock_trouble(done.error())) return done;
  return failure(Code::kTimeout, done.error().message(), Retry::kSafe);
}

Result<void> Act::change_row(SideName side, const ArbiterRow& before, const ArbiterRow& after) {
  TRY(auto* db, session(side));
  auto changed = db->query_one(
      "update banyan.migration set state = $4, epoch = $5, changed_at = clock_timestamp() "
      "where name = $1 and state = $2 and epoch = $3",
      {migration_, std::string(row_state_name(before.state)), number(before.epoch),
       std::string(row_state_name(after.state)), number(after.epoch)});
  return with_context(without_rows(std::move(changed)),
                      fmt::format("changing the arbiter row of the {} side", side_name(side)));
}

Error Act::refused(std::string_view verb, Epoch epoch, const ArbiterRow& row) const {
  return Error(Code::kConflict,
               fmt::format("cannot {} migration {} with epoch {}: it is {} with epoch {}", verb,
                           migration_, epoch.value(), row_state_name(row.state), row.epoch.value()))
      .with_remedy("Read act.state: another coordinator has moved on.");
}

void Act::cancel_autovacuum(SideName side) {
  auto db = session(side);
  if (!db) return;
  auto fenced = fenced_tables(**db, out_of(side).from);
  if (!fenced || fenced->empty()) return;
  // Best effort: without pg_signal_backend we wait for the worker to give way by itself.
  (void)(*db)->query(fmt::format(
      "select pg_cancel_backend(a.pid) from pg_stat_activity a join pg_locks l on l.pid = a.pid "
      "where a.backend_type = 'autovacuum worker' and l.relation = any ('{{{}}}'::oid[])",
      oid_list(*fenced)));
}

std::string Act::blockers(SideName side) {
  auto db = session(side);
  if (!db) return "unknown";
  auto fenced = fenced_tables(**db, out_of(side).from);
  if (!fenced) return "unknown";
  auto rows = (*db)->query(
      fmt::format(kBlockers, pg::quote_literal(gate_of(migration_)), oid_list(*fenced)));
  std::string list;
  for (std::size_t row = 0; rows && row < rows->size(); row++) {
    list += (row > 0 ? ", " : "") + rows->str(row, 0);
  }
  return list.empty() ? "already gone" : list;
}

Error Act::writers_stay(SideName side) {
  const auto who = blockers(side);
  return Error(Code::kTimeout, "open writers did not end in time; nothing is fenced: " + who)
      .with_remedy("End these sessions or wait for them: " + who);
}

Result<void> Act::arm() {
  TRY(const auto now, state());
  if (now.is_closed()) return {};
  TRY_VOID(fail_point("arm.start"));
  TRY(auto* db, session(now.active));
  std::size_t least = SIZE_MAX;
  for (auto until = SystemClock().now() + kArmPatience; SystemClock().now() < until;) {
    TRY(const auto left,
        set_fences_one_by_one(*db, migration_, out_of(now.active), FenceMode::kArmed,
                              {kArmLockTimeout, SystemClock().now() + kArmPass}));
    if (left == 0) return {};
    if (left < least) until = SystemClock().now() + kArmPatience;
    least = std::min(least, left);
    cancel_autovacuum(now.active);
    std::this_thread::sleep_for(kBetweenArms);
  }
  return std::unexpected(writers_stay(now.active));
}

Result<bool> Act::disarm() {
  TRY(const auto now, state());
  if (now.is_closed()) return false;
  TRY(auto* db, session(now.active));
  TRY(const auto left,
      set_fences_one_by_one(*db, migration_, out_of(now.active), FenceMode::kDisarmed,
                            {kDisarmLockTimeout, SystemClock().now() + kDisarmPass}));
  TRY_VOID(fail_point("disarm.done"));
  return left == 0;
}

Result<void> Act::fence_in_transaction(SideName active, Epoch epoch) {
  TRY(const auto before, row(active));
  const auto after = after_fence(before, epoch);
  if (!after) return std::unexpected(refused("fence", epoch, before));
  if (*after == before) return {};
  TRY_VOID(fail_point("fence.start"));
  // The row first: its lock lets one coordinator at a time to the tables.
  TRY_VOID(change_row(active, before, *after));
  TRY_VOID(fail_point("fence.row_changed"));
  TRY(auto* db, session(active));
  TRY_VOID(arm_fences(*db, migration_, out_of(active)));
  TRY_VOID(fail_point("fence.armed"));
  TRY_VOID(set_gate(*db, migration_, Gate::kClosed));
  TRY_VOID(fail_point("fence.triggers_set"));
  TRY_VOID(close_sequences(*db, migration_, out_of(active)));
  TRY_VOID(fail_point("fence.sequences_closed"));
  return without_rows(db->query_one("insert into banyan.barrier(name, epoch) values ($1, $2)",
                                    {migration_, number(epoch)}));
}

Result<void> Act::fence_once(SideName active, Epoch epoch, Duration lock_timeout) {
  const auto settings =
      fmt::format("set local lock_timeout = {}", std::max(1L, to_ms(lock_timeout)));
  return in_transaction(active, settings,
                        [&](pg::Connection&) { return fence_in_transaction(active, epoch); });
}

Result<pg::Lsn> Act::fence(Epoch epoch, Duration lock_timeout) {
  TRY(const auto now, state());
  if (now.act == ActState::kHandedOver) {
    return std::unexpected(refused("fence", epoch, {RowState::kHandedOver, now.epoch}));
  }
  Result<void> fenced;
  for (int attempt = 1; attempt <= kFenceTries; attempt++) {
    if (attempt > 1) cancel_autovacuum(now.active);
    fenced = fence_once(now.active, epoch, lock_timeout);
    if (fenced || fenced.error().code() != Code::kTimeout) break;
    log_warn("fence waits for writers", {{"attempt", attempt}});
    if (attempt < kFenceTries) std::this_thread::sleep_for(kBetweenTries);
  }
  if (!fenced && fenced.error().code() == Code::kTimeout)
    return std::unexpected(writers_stay(now.active));
  if (!fenced) return std::unexpected(std::move(fenced).error());
  TRY(auto* db, session(now.active));
  TRY_VOID(fail_point("fence.committed"));
  TRY(const auto lsn, db->query("select pg_current_wal_lsn()"));
  return pg::parse_lsn(lsn.text(0, 0));
}

Result<void> Act::await(Epoch epoch, Duration timeout,
                        const std::function<Result<void>()>& can_arrive) {
  TRY(const auto now, state());
  if (now.epoch != epoch || now.act == ActState::kRunning) {
    return failure(Code::kConflict, fmt::format("nothing is fenced with epoch {}", epoch.value()));
  }
  if (now.act != ActState::kFenced) return {};  // handed over: it had arrived before
  TRY_VOID(fail_point("await.start"));
  TRY(auto* db, session(other_side(now.active)));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    TRY(const auto arrived, db->query("select 1 from banyan.barrier where name = $1 and epoch = $2",
                                      {migration_, number(epoch)}));
    if (!arrived.empty()) break;
    TRY_VOID(can_arrive());
    if (std::chrono::steady_clock::now() > deadline) {
      return failure(Code::kTimeout, "the barrier did not arrive in time", Retry::kSafe);
    }
    std::this_thread::sleep_for(kBarrierPoll);
  }
  TRY_VOID(fail_point("await.arrived"));
  // The stream may commit asynchronously: our synchronous commit puts everything before it on disk.
  return without_rows(db->query_one(
      "update banyan.migration set changed_at = clock_timestamp() where name = $1", {migration_}));
}

Result<void> Act::handover(Epoch epoch) {
  TRY(const auto now, state());
  const bool done = now.act == ActState::kHandedOver || now.act == ActState::kOpen;
  if (done && now.epoch == epoch) return {};
  TRY(const auto before, row(now.active));
  const auto after = now.act == ActState::kFenced ? after_handover(before, epoch) : std::nullopt;
  if (!after) return std::unexpected(refused("hand over", epoch, before));
  // I8, before the point of no return: the passive side has what the barrier follows.
  TRY_VOID(await(epoch, 0ms, [] { return Result<void>(); }));
  TRY_VOID(fail_point("handover.decide"));
  return change_row(now.active, before, *after);
}

Result<void> Act::open_in_transaction(SideName side, Epoch epoch) {
  TRY(const auto before, row(side));
  TRY(const auto other, row(other_side(side)));
  const auto after = after_open(before, other, epoch);
  if (!after) return std::unexpected(refused("open", epoch, before));
  if (*after == before) return {};
  TRY_VOID(change_row(side, before, *after));
  TRY_VOID(fail_point("open.row_changed"));
  TRY(auto* db, session(side));
  TRY_VOID(set_gate(*db, migration_, Gate::kOpen));
  TRY_VOID(give_back_sequences(*db, migration_));
  TRY_VOID(fail_point("open.triggers_set"));
  // Nothing an application writes can commit before this position: the tables are still ours.
  return without_rows(db->query_one(
      "update banyan.migration set open_lsn = pg_current_wal_insert_lsn() where name = $1",
      {migration_}));
}

Result<void> Act::open(Epoch epoch) {
  TRY(const auto now, state());
  return in_transaction(now.active, "set local lock_timeout = '2s'",
                        [&](pg::Connection&) { return open_in_transaction(now.active, epoch); });
}

Result<void> Act::abort_in_transaction(SideName side, Epoch epoch) {
  TRY(const auto before, row(side));
  const auto after = after_abort(before, epoch);
  TRY_VOID(fail_point("abort.start"));
  if (!after) return std::unexpected(refused("abort", epoch, before));
  if (*after == before) return {};
  TRY_VOID(change_row(side, before, *after));
  TRY(auto* db, session(side));
  TRY_VOID(give_back_sequences(*db, migration_));
  TRY_VOID(fail_point("abort.row_changed"));
  return set_gate(*db, migration_, Gate::kOpen);
}

Error Act::handed_over(Epoch epoch) const {
  return Error(Code::kConflict,
               fmt::format("epoch {} of migration {} is handed over", epoch.value(), migration_))
      .with_remedy("Roll forward with act.open; then switch back with a new epoch.");
}

Result<void> Act::abort(Epoch epoch) {
  // The passive side may be dead: the row of the side that can be written is enough.
  std::optional<Error> trouble;
  std::optional<SideName> active;
  for (const auto side : {SideName::kOld, SideName::kNew}) {
    auto found = fresh_row(side);
    if (!found) {
      trouble = std::move(found).error();
      continue;
    }
    if (*found == ArbiterRow{RowState::kHandedOver, epoch})
      return std::unexpected(handed_over(epoch));
    const bool is_active = found->state == RowState::kFenced || found->state == RowState::kRunning;
    if (is_active) active = side;
  }
  if (active) {
    return in_transaction(*active, "set local lock_timeout = '2s'",
                          [&](pg::Connection&) { return abort_in_transaction(*active, epoch); });
  }
  if (trouble) return std::unexpected(std::move(*trouble));
  return std::unexpected(handed_over(epoch));
}

Result<pg::Lsn> Act::open_lsn(SideName side) {
  TRY(auto* db, session(side));
  TRY(const auto rows,
      db->query("select coalesce(open_lsn, '0/0') from banyan.migration where name = $1",
                {migration_}));
  if (rows.size() != 1) return failure(Code::kNotFound, "no such migration here");
  return pg::parse_lsn(rows.text(0, 0));
}

}  // namespace banyan::replication
