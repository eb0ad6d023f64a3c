#include "planes/replication/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <condition_variable>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/back_off.h"
#include "planes/replication/engine_shared.h"
#include "planes/replication/source_snapshot.h"

namespace banyan::replication {
namespace {

constexpr auto kGuardEvery = 2s;
constexpr int kHeartbeatTurns = 5;  // a heartbeat every so many looks of the guard
constexpr auto kSampleEvery = 1s;
// What takes about half an hour: longer the source's old row versions are not kept for one
// snapshot.
constexpr std::int64_t kSharedSnapshotBytes = 100LL << 30;
constexpr auto kBackOffLeast = 200ms;
constexpr auto kBackOffMost = 5000ms;

// The transaction ids a snapshot has seen, by importing it once.
Result<std::string> snapshot_as_text(const std::string& url, const std::string& name) {
  TRY(auto db, connect(url));
  TRY_VOID(begin_under(db, name));
  const auto* function =
      db.server_version() >= 130000 ? "pg_current_snapshot" : "txid_current_snapshot";
  TRY(const auto rows, db.query(fmt::format("select pg_catalog.{}()::text", function)));
  return rows.str(0, 0);
}

}  // namespace

Engine::Engine(EngineConfig config, SchemaSteps steps, Proof& proof, std::shared_ptr<Feed> shared)
    : config_(std::move(config)),
      steps_(std::move(steps)),
      proof_(proof),
      feed_(std::move(shared)),
      shared_(std::make_unique<Shared>()) {
  shared_->throttle.set_limits(config_.throttle);
  shared_->spool_limit = config_.spool_limit;
}

Engine::~Engine() {
  stop();
}

void Engine::start() {
  bool is_running = false;
  shared_->report.change([&](Shared::Report& report) {
    is_running = std::exchange(report.is_running, true);
    if (!is_running) report.error.reset();
    if (!is_running && report.state == "failed") report.state = "catching_up";
  });
  if (is_running) {
    for (const auto from : {SideName::kOld, SideName::kNew}) {
      if (Stream* failed = stream(from)) failed->start();  // does nothing for one that runs
    }
    return;
  }
  if (runner_.joinable()) runner_.join();
  runner_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  if (heart_.joinable()) return;
  heart_ = std::jthread([this](const std::stop_token& stop) { heartbeat(stop); });
}

void Engine::stop() {
  if (heart_.joinable()) {
    heart_.request_stop();
    heart_.join();
  }
  if (runner_.joinable()) {
    runner_.request_stop();
    runner_.join();
  }
  for (const auto from : {SideName::kOld, SideName::kNew}) {
    if (Stream* running = stream(from)) running->stop();
  }
  const auto early = shared_->early.with([](auto& now) { return std::exchange(now, {}).feed; });
  if (early) early->close(config_.name);
  shared_->report.change([](Shared::Report& report) { report.is_running = false; });
}

Stream* Engine::stream(SideName from) const {
  return shared_->streams.with(
      [&](const auto& streams) { return streams[static_cast<std::size_t>(from)].get(); });
}

std::string Engine::publication(SideName from) const {
  return is_shared(from) ? shared_slot().publication() : "banyan_" + config_.name;
}

std::string Engine::stem(SideName from) const {
  return is_shared(from) ? shared_slot().stem(config_.slot_prefix)
                         : slot_stem(config_.slot_prefix, config_.name, side_name(from));
}

void Engine::set_state(const std::string& state) {
  shared_->report.change([&](Shared::Report& report) { report.state = state; });
  log_info("migration state", {{"migration", config_.name}, {"state", state}});
}

Result<void> Engine::set_stage(const std::string& stage) {
  TRY(auto target, connect(url(SideName::kNew)));
  return replication::set_stage(target, stream_name(config_.name, SideName::kOld), stage);
}

void Engine::run(const std::stop_token& stop) {
  Duration back_off = kBackOffLeast;
  while (!stop.stop_requested()) {
    const auto done = advance(stop);
    if (done || stop.stop_requested()) return;
    log_warn("migration interrupted",
             {{"migration", config_.name}, {"error", done.error().message()}});
    const bool passes = may_pass(done.error());
    shared_->report.change([&](Shared::Report& report) {
      report.error = done.error();
      report.is_running = passes;
      if (!passes) report.state = "failed";
    });
    if (!passes) return;
    sleep_unless_stopped(stop, back_off);
    back_off = std::min<Duration>(back_off * 2, kBackOffMost);
  }
}

Result<void> Engine::advance(const std::stop_token& stop) {
  for (const auto side : {SideName::kOld, SideName::kNew}) {
    TRY(auto db, with_context(connect(url(side)), fmt::format("the {} database", side_name(side))));
    TRY_VOID(create_control_schema(db, config_.name, side));
    TRY_VOID(create_stream_table(db));
  }
  TRY(auto target, connect(url(SideName::kNew)));
  TRY(const auto record, read_stream(target, stream_name(config_.name, SideName::kOld)));
  const auto stage = record ? record->stage : "schema";
  if (record) TRY_VOID(check_repaired(*record));
  if (stage == "schema") {
    TRY_VOID(begin(stop));
  } else if (stage == "copying") {
    TRY_VOID(copy("", stop));
  } else {
    TRY_VOID(load_tables());
  }
  if (stage != "following") TRY_VOID(index(stop));
  TRY_VOID(follow());
  shared_->report.change([](Shared::Report& report) { report.error.reset(); });
  return {};
}

Result<void> Engine::begin(const std::stop_token& stop) {
  set_state("prepared");
  TRY_VOID(fail_point("begin.start"));
  TRY(auto source, connect(url(SideName::kOld)));
  TRY(auto start, begin_stream(SideName::kOld));
  TRY_VOID(fail_point("begin.slot_made"));
  TRY(const auto snapshot, snapshot_as_text(url(SideName::kOld), start.snapshot));
  TRY(auto target, connect(url(SideName::kNew)));
  TRY_VOID(write_stream(target, {.stream = stream_name(config_.name, SideName::kOld),
                                 .slot = start.slot.slot,
                                 .system_id = start.slot.system_id,
                                 .timeline = start.slot.timeline,
                                 .stage = "schema",
                                 .snapshot = snapshot,
                                 .start = start.point}));
  set_state("schema");
  TRY_VOID(fail_point("begin.recorded"));
  TRY_VOID(steps_.pre_data(start.snapshot));
  TRY_VOID(fail_point("begin.schema_made"));
  TRY_VOID(set_stage("copying"));
  TRY(const bool has_one_snapshot, wants_shared_snapshot(source));
  if (has_one_snapshot) return copy(start.snapshot, stop);
  start.session = {};  // which ends the snapshot
  return copy("", stop);
}

Result<bool> Engine::wants_shared_snapshot(pg::Connection& source) const {
  if (config_.copy_mode != CopyMode::kAuto) return false;
  TRY(const auto tables, read_tables(source, config_.streamed(SideName::kOld)));
  std::int64_t bytes = 0;
  for (const auto& table : tables) bytes += table.bytes;
  return bytes < kSharedSnapshotBytes;
}

// Beside the copy: its rate, and whether the source suffers.
void Engine::watch_copy(const std::stop_token& stop) {
  const std::jthread guard([&](const std::stop_token& own_stop) {
    guard_source(url(SideName::kOld), shared_->throttle, own_stop);
  });
  while (!stop.stop_requested()) {
    std::int64_t bytes = 0;
    std::int64_t rows = 0;
    shared_->tables.with([&](const CopyProgress& all) {
      for (const auto& [name, table] : all) {
        bytes += table.bytes;
        rows += table.rows;
      }
    });
    shared_->rate.with([&](CopyRate& rate) { rate.note(SystemClock().now(), bytes, rows); });
    sleep_unless_stopped(stop, kSampleEvery);
  }
}

ThrottleLimits Engine::throttle_limits() const {
  return shared_->throttle.limits();
}

void Engine::throttle(const ThrottleLimits& limits, const std::string& pause_reason) {
  shared_->throttle.set_limits(limits);
  shared_->throttle.hold("by hand", pause_reason);
}

Result<void> Engine::copy(const std::string& exported_snapshot, const std::stop_token& stop) {
  set_state("copying");
  TRY_VOID(fail_point("copy.start"));
  TRY(auto source, connect(url(SideName::kOld)));
  TRY(auto target, connect(url(SideName::kNew)));
  const auto stream = stream_name(config_.name, SideName::kOld);
  TRY(const auto record, read_stream(target, stream));
  if (!record) return failure(Code::kConflict, "the stream's record is gone");
  TRY(auto tables, read_tables(source, config_.streamed(SideName::kOld)));
  shared_->rate.with([](CopyRate& rate) { rate = {}; });
  const std::jthread watcher([this](const std::stop_token& own_stop) { watch_copy(own_stop); });
  TRY_VOID(copy_tables({.migration = config_.name,
                        .stream = stream,
                        .source_url = url(SideName::kOld),
                        .target_url = url(SideName::kNew),
                        .tables = std::move(tables),
                        .jobs = config_.jobs,
                        .mode = config_.copy_mode,
                        .modes = config_.copy_of,
                        .chunk_bytes = config_.chunk_bytes,
                        .exported_snapshot = exported_snapshot,
                        .slot_snapshot = record->snapshot,
                        .mapping = config_.mapping,
                        .throttle = &shared_->throttle},
                       shared_->tables, stop));
  TRY_VOID(fail_point("copy.end"));
  return set_stage("indexing");
}

Result<void> Engine::load_tables() {
  TRY(auto source, connect(url(SideName::kOld)));
  TRY(auto target, connect(url(SideName::kNew)));
  TRY(const auto tables, read_tables(source, config_.streamed(SideName::kOld)));
  TRY_VOID(load_copied(target, stream_name(config_.name, SideName::kOld), tables, shared_->tables));
  return {};
}

Result<void> Engine::index(const std::stop_token& stop) {
  set_state("indexing");
  TRY_VOID(fail_point("index.start"));
  TRY_VOID(steps_.keys());
  TRY_VOID(fail_point("index.keys_made"));
  TRY(auto target, connect(url(SideName::kNew)));
  TRY(const auto filters, read_filters(target, stream_name(config_.name, SideName::kOld)));
  if (!filters.empty()) {
    // Tables of different snapshots agree only after everything up to now is applied.
    TRY(auto source, connect(url(SideName::kOld)));
    TRY(const auto now, source.query("select pg_catalog.pg_current_wal_insert_lsn()"));
    TRY(const auto position, pg::parse_lsn(now.text(0, 0)));
    TRY_VOID(run_stream(SideName::kOld));
    set_state("catching_up");
    TRY_VOID(wait_for_position(position, stop));
    set_state("indexing");
  }
  TRY_VOID(steps_.post_data());
  TRY_VOID(fail_point("index.made"));
  return set_stage("following");
}

Result<void> Engine::wait_for_position(pg::Lsn position, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const Stream* forward = stream(SideName::kOld);
    const auto status = forward->status();
    if (status.position >= position) return {};
    if (status.state == StreamState::kFailed) return std::unexpected(*status.error);
    sleep_unless_stopped(stop, 50ms);
  }
  return failure(Code::kCancelled, "stopped");
}

Result<void> Engine::follow() {
  TRY_VOID(fail_point("follow.start"));
  TRY_VOID(run_stream(SideName::kOld));
  TRY_VOID(run_stream(SideName::kNew));
  set_state("following");
  return {};
}

void Engine::heartbeat(const std::stop_token& stop) {
  std::array<std::optional<pg::Connection>, 2> sessions;
  for (int turn = 0; !stop.stop_requested(); ++turn, sleep_unless_stopped(stop, kGuardEvery)) {
    for (const auto side : {SideName::kOld, SideName::kNew}) {
      auto& session = sessions[static_cast<std::size_t>(side)];
      if (!session || !session->is_alive()) {
        if (auto opened = connect(url(side))) session = std::move(*opened);
      }
      if (!session) continue;
      guard_wal(side, *session);
      if (stream(side) == nullptr || turn % kHeartbeatTurns != 0) continue;
      // A missed beat does no harm; the streams report a dead server themselves.
      (void)session->query(
          "update banyan.heartbeat set at = clock_timestamp() "
          "where name = $1 and side = $2",
          {config_.name, std::string(side_name(side))});
    }
  }
}

// What the source keeps too much of goes to our disk, during the copy too, which makes room for it
// when receiving does not keep up.
void Engine::release_wal(SideName side, const WalStanding& now) {
  const bool is_short = wants_release(now, config_.kept_wal_limit);
  Stream* running = stream(side);
  if (running != nullptr) running->set_wal_short(is_short);
  if (side != SideName::kOld) return;
  const bool is_behind = running == nullptr && is_receiving_behind(now, config_.kept_wal_limit);
  shared_->throttle.hold("log", is_behind ? fmt::format("the source keeps {} MB of log that is not "
                                                        "received yet",
                                                        now.unconfirmed_bytes >> 20)
                                          : "");
  const auto early = shared_->early.with([](const auto& now) { return now.feed; });
  if (early) early->signals().is_wal_short = is_short;
  if (running != nullptr || early || !is_short) return;
  if (const auto done = receive_early(); !done) {
    log_warn("the source's log is not received yet",
             {{"migration", config_.name}, {"error", done.error().message()}});
  }
}

void Engine::guard_wal(SideName side, pg::Connection& session) {
  const auto now = read_wal_standing(session, stem(side));
  if (!now) return;  // the next turn looks again
  const auto before = shared_->wal.with(
      [&](auto& wal) { return std::exchange(wal[static_cast<std::size_t>(side)], *now); });
  if (*now) release_wal(side, **now);
  const auto alarm = *now ? wal_alarm(**now) : "";
  if (alarm.empty() || (before && !wal_alarm(*before).empty())) return;
  log_warn("log is kept for the migration",
           {{"migration", config_.name}, {"side", side_name(side)}, {"alarm", alarm}});
}

}  // namespace banyan::replication
