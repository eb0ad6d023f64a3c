#include "planes/replication/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <random>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/back_off.h"
#include "planes/replication/wal_guard.h"

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

std::string nonce() {
  std::random_device device;
  return fmt::format("{:08x}", device());
}

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_engine"});
}

std::string_view table_state_name(TableState state) {
  switch (state) {
    case TableState::kWaiting:
      return "waiting";
    case TableState::kCopying:
      return "copying";
    case TableState::kCopied:
      return "copied";
  }
  return "";
}

std::string_view stream_state_name(StreamState state) {
  switch (state) {
    case StreamState::kStopped:
      return "stopped";
    case StreamState::kRunning:
      return "running";
    case StreamState::kWaiting:
      return "waiting";
    case StreamState::kFailed:
      return "failed";
  }
  return "";
}

nlohmann::json misfit_json(const Misfit& misfit) {
  return {{"table", misfit.table},
          {"operation", misfit.operation},
          {"lsn", misfit.lsn},
          {"key", misfit.key},
          {"source", misfit.here},
          {"target", misfit.there ? nlohmann::json(*misfit.there) : nlohmann::json(nullptr)}};
}

nlohmann::json stream_json(const Stream* stream) {
  if (stream == nullptr) return {{"running", false}, {"lag_bytes", 0}};
  const auto status = stream->status();
  nlohmann::json json = {{"running", status.state == StreamState::kRunning},
                         {"state", stream_state_name(status.state)},
                         {"lag_bytes", status.lag_bytes},
                         {"lag_ms", status.lag_ms},
                         {"applied_lsn", pg::format_lsn(status.applied)},
                         {"received_lsn", pg::format_lsn(status.received)},
                         {"transactions", status.transactions},
                         {"rows", status.rows},
                         {"batches", status.batches},
                         {"batches_row_by_row", status.batches_row_by_row}};
  if (status.misfit) json["misfit"] = misfit_json(*status.misfit);
  if (status.error) json["error"] = status.error->message();
  return json;
}

void add_alarms(nlohmann::json& list, const Stream* stream, std::string_view side) {
  if (stream == nullptr) return;
  for (const auto& alarm : stream->status().alarms) {
    list.push_back({{"side", side},
                    {"table", alarm.table},
                    {"operation", alarm.operation},
                    {"row", alarm.row},
                    {"xid", alarm.xid},
                    {"lsn", alarm.lsn}});
  }
}

// Between the new slot and the last row of a repair the sides are not copies of one another.
Result<void> check_repaired(const StreamRecord& record) {
  if (record.stage != "repairing") return {};
  const auto name = record.stream.substr(0, record.stream.rfind(':'));
  return std::unexpected(Error(Code::kConflict, "a repair was interrupted")
                             .with_remedy("Repair again: banyan migrate repair " + name));
}

// The transaction ids a snapshot has seen, by importing it once.
Result<std::string> snapshot_as_text(const std::string& url, const std::string& name) {
  TRY(auto db, connect(url));
  TRY_VOID(db.exec("begin isolation level repeatable read; set transaction snapshot " +
                   pg::quote_literal(name)));
  const auto* function =
      db.server_version() >= 130000 ? "pg_current_snapshot" : "txid_current_snapshot";
  TRY(const auto rows, db.query(fmt::format("select pg_catalog.{}()::text", function)));
  return rows.str(0, 0);
}

}  // namespace

// What the threads share. Streams are made once and live as long as the engine.
struct Engine::Shared {
  struct Report {
    std::string state = "prepared";
    std::optional<Error> error;
    bool is_running = false;
    bool has_caught_up = false;
    std::optional<Error> schema_error;
  };
  mutable Guarded<Report> report;
  mutable Guarded<CopyProgress> tables;
  mutable Guarded<CopyRate> rate;
  CopyThrottle throttle;
  Guarded<std::array<std::unique_ptr<Stream>, 2>> streams;
  Guarded<std::array<std::optional<WalStanding>, 2>> wal;  // by side
  std::mutex making_opposite;
};

Engine::Engine(EngineConfig config, SchemaSteps steps)
    : config_(std::move(config)), steps_(std::move(steps)), shared_(std::make_unique<Shared>()) {
  shared_->throttle.set_limits(config_.throttle);
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
  shared_->report.change([](Shared::Report& report) { report.is_running = false; });
}

Stream* Engine::stream(SideName from) const {
  return shared_->streams.with(
      [&](const auto& streams) { return streams[static_cast<std::size_t>(from)].get(); });
}

std::string Engine::publication() const {
  return "banyan_" + config_.name;
}

std::string Engine::slot_stem(SideName from) const {
  std::string stem = config_.slot_prefix;
  for (const char c : config_.name) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    stem += is_plain ? c : '_';
  }
  return fmt::format("{}_{}_", stem.substr(0, 45), side_name(from));
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

// Makes the slot of one direction anew. Slots that a crash left behind are dropped.
Result<std::string> Engine::remake_slot(SideName from, pg::ReplicationConnection& connection) {
  const auto stem = slot_stem(from);
  TRY_VOID(connection.query(fmt::format(
      "select pg_catalog.pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots "
      "where not active and pg_catalog.strpos(slot_name::text, {}) = 1",
      pg::quote_literal(stem))));
  return stem + nonce();
}

Result<void> Engine::begin(const std::stop_token& stop) {
  set_state("prepared");
  TRY_VOID(fail_point("begin.start"));
  TRY(auto source, connect(url(SideName::kOld)));
  TRY_VOID(publish(source, publication(), config_.tables, config_.mapping));
  TRY(auto exporter, pg::ReplicationConnection::open(url(SideName::kOld), "banyan_slot"));
  TRY(const auto identity, exporter.identify());
  TRY(const auto name, remake_slot(SideName::kOld, exporter));
  TRY(const auto slot,
      with_context(exporter.create_slot(name, pg::Snapshot::kExport), "creating the slot " + name));
  TRY_VOID(fail_point("begin.slot_made"));
  TRY(const auto snapshot, snapshot_as_text(url(SideName::kOld), slot.snapshot));
  TRY(auto target, connect(url(SideName::kNew)));
  TRY_VOID(write_stream(target, {.stream = stream_name(config_.name, SideName::kOld),
                                 .slot = name,
                                 .system_id = identity.system_id,
                                 .stage = "schema",
                                 .snapshot = snapshot,
                                 .start = slot.consistent_point}));
  set_state("schema");
  TRY_VOID(fail_point("begin.recorded"));
  TRY_VOID(steps_.pre_data(slot.snapshot));
  TRY_VOID(fail_point("begin.schema_made"));
  TRY_VOID(set_stage("copying"));
  TRY(const bool is_shared, wants_shared_snapshot(source));
  if (is_shared) return copy(slot.snapshot, stop);  // it lives as long as the exporter stays idle
  TRY_VOID(exporter.query("select 1"));             // which ends the snapshot
  return copy("", stop);
}

Result<bool> Engine::wants_shared_snapshot(pg::Connection& source) const {
  if (config_.copy_mode != CopyMode::kAuto) return false;
  TRY(const auto tables, read_tables(source, config_.tables));
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
  TRY(auto tables, read_tables(source, config_.tables));
  shared_->rate.with([](CopyRate& rate) { rate = {}; });
  const std::jthread watcher([this](const std::stop_token& own_stop) { watch_copy(own_stop); });
  TRY_VOID(copy_tables({.migration = config_.name,
                        .stream = stream,
                        .source_url = url(SideName::kOld),
                        .target_url = url(SideName::kNew),
                        .tables = std::move(tables),
                        .jobs = config_.jobs,
                        .mode = config_.copy_mode,
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
  TRY(const auto tables, read_tables(source, config_.tables));
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

// Starts the stream out of `from` when it was made; nothing otherwise.
Result<void> Engine::run_stream(SideName from) {
  if (Stream* existing = stream(from)) return existing->start(), Result<void>();
  TRY(auto target, connect(url(other_side(from))));
  TRY(const auto record, read_stream(target, stream_name(config_.name, from)));
  if (!record) return {};
  TRY(auto config, stream_config(from, *record));
  shared_->streams.change([&](auto& streams) {
    auto& slot = streams[static_cast<std::size_t>(from)];
    if (!slot) slot = std::make_unique<Stream>(std::move(config));
    slot->start();
  });
  return {};
}

Result<StreamConfig> Engine::stream_config(SideName from, const StreamRecord& record) {
  TRY_VOID(check_repaired(record));
  TRY(auto target, connect(url(other_side(from))));
  TRY(auto filters, read_filters(target, record.stream));
  return StreamConfig{
      .applier = {.migration = config_.name,
                  .from = from,
                  .from_url = url(from),
                  .to_url = url(other_side(from)),
                  .filters = std::move(filters),
                  .mapping = from == SideName::kOld ? config_.mapping : config_.mapping.reversed(),
                  .way = config_.apply_way},
      .slot = record.slot,
      .publication = publication(),
      .system_id = record.system_id,
      .spool = config_.spool / side_name(from)};
}

bool Engine::has_failed(SideName active) const {
  const Stream* running = stream(active);
  if (running != nullptr) return running->status().state == StreamState::kFailed;
  return shared_->report.with([](const Shared::Report& report) { return !report.is_running; });
}

Result<void> Engine::remake_stream(SideName active,
                                   const std::function<Result<void>(const std::string&)>& repair) {
  const auto name = stream_name(config_.name, active);
  TRY(auto passive, connect(url(other_side(active))));
  TRY(auto record, read_stream(passive, name));
  if (!record || (record->stage != "following" && record->stage != "repairing")) {
    return failure(Code::kConflict, "the copy is not finished: start goes on with it");
  }
  TRY(auto source, connect(url(active)));
  TRY_VOID(create_control_schema(source, config_.name, active));
  TRY_VOID(publish(source, publication(), config_.tables,
                   active == SideName::kOld ? config_.mapping : config_.mapping.reversed()));
  if (Stream* running = stream(active)) running->stop();
  TRY(auto exporter, pg::ReplicationConnection::open(url(active), "banyan_slot"));
  TRY(const auto identity, exporter.identify());
  TRY(record->slot, remake_slot(active, exporter));
  TRY(const auto slot, exporter.create_slot(record->slot, pg::Snapshot::kExport));
  TRY_VOID(fail_point("repair.slot_made"));
  record->system_id = identity.system_id;
  record->stage = "repairing";
  record->snapshot.clear();
  record->start = slot.consistent_point;
  TRY_VOID(retarget_stream(passive, *record));
  TRY_VOID(fail_point("repair.recorded"));
  TRY_VOID(repair(slot.snapshot));
  TRY_VOID(fail_point("repair.rows_made"));
  TRY_VOID(replication::set_stage(passive, name, "following"));
  TRY_VOID(fail_point("repair.end"));
  record->stage = "following";
  TRY(auto config, stream_config(active, *record));
  if (Stream* stopped = stream(active)) {
    stopped->reconfigure(std::move(config));
    stopped->start();
  }
  start();
  return {};
}

Result<void> Engine::without_stream(SideName from, const std::function<Result<void>()>& body) {
  Stream* running = stream(from);
  if (running == nullptr) return failure(Code::kConflict, "nothing is followed yet");
  running->stop();
  TRY_VOID(body());
  TRY(auto passive, connect(url(other_side(from))));
  TRY(const auto record, read_stream(passive, stream_name(config_.name, from)));
  if (!record) return failure(Code::kConflict, "the stream's record is gone");
  TRY(auto config, stream_config(from, *record));
  running->reconfigure(std::move(config));
  running->start();
  return {};
}

void Engine::set_schema_error(std::optional<Error> error) {
  const bool is_wrong = error.has_value();
  const bool was_wrong = shared_->report.with([&](Shared::Report& report) {
    return std::exchange(report.schema_error, std::move(error)).has_value();
  });
  Stream* forward = stream(SideName::kOld);
  if (forward == nullptr) return;
  if (is_wrong) forward->stop();
  const bool has_failed = forward->status().state == StreamState::kFailed;
  if (was_wrong && !is_wrong && !has_failed) forward->start();
}

Result<void> Engine::prepare_opposite() {
  const std::lock_guard one_at_a_time(shared_->making_opposite);
  if (const Stream* existing = stream(SideName::kNew)) {
    if (existing->status().state != StreamState::kFailed) return {};
  }
  TRY(auto target, connect(url(SideName::kNew)));
  TRY(const auto forward, read_stream(target, stream_name(config_.name, SideName::kOld)));
  if (forward) TRY_VOID(check_repaired(*forward));
  if (!forward || forward->stage != "following") {
    return failure(Code::kConflict, "the copy is not finished: there is nothing to switch yet");
  }
  TRY(auto old_side, connect(url(SideName::kOld)));
  TRY(const auto record, read_stream(old_side, stream_name(config_.name, SideName::kNew)));
  if (!record) TRY_VOID(with_context(make_opposite(), "making the stream back"));
  TRY_VOID(fail_point("opposite.recorded"));
  return run_stream(SideName::kNew);
}

Result<void> Engine::make_opposite() {
  TRY(auto source, connect(url(SideName::kNew)));
  TRY_VOID(publish(source, publication(), config_.tables, config_.mapping.reversed()));
  TRY(auto connection, pg::ReplicationConnection::open(url(SideName::kNew), "banyan_slot"));
  TRY(const auto identity, connection.identify());
  TRY(const auto name, remake_slot(SideName::kNew, connection));
  TRY(const auto slot, connection.create_slot(name, pg::Snapshot::kNone));
  TRY_VOID(fail_point("opposite.slot_made"));
  TRY(auto target, connect(url(SideName::kOld)));
  return write_stream(target, {.stream = stream_name(config_.name, SideName::kNew),
                               .slot = name,
                               .system_id = identity.system_id,
                               .stage = "following",
                               .snapshot = "",
                               .start = slot.consistent_point});
}

Result<void> Engine::at_point(SideName active, const std::function<Result<pg::Lsn>()>& find_point,
                              Duration timeout, const std::function<Result<void>()>& body) {
  Stream* running = stream(active);
  if (running == nullptr) return failure(Code::kConflict, "nothing is followed yet");
  return running->at_point(find_point, timeout, body);
}

std::vector<TouchedKey> Engine::touched_keys(SideName active, std::size_t limit) const {
  const Stream* running = stream(active);
  return running == nullptr ? std::vector<TouchedKey>() : running->touched_keys(limit);
}

void Engine::heartbeat(const std::stop_token& stop) const {
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

void Engine::guard_wal(SideName side, pg::Connection& session) const {
  const auto now = read_wal_standing(session, slot_stem(side));
  if (!now) return;  // the next turn looks again
  const auto before = shared_->wal.with(
      [&](auto& wal) { return std::exchange(wal[static_cast<std::size_t>(side)], *now); });
  const auto alarm = *now ? wal_alarm(**now) : "";
  if (alarm.empty() || (before && !wal_alarm(*before).empty())) return;
  log_warn("log is kept for the migration",
           {{"migration", config_.name}, {"side", side_name(side)}, {"alarm", alarm}});
}

nlohmann::json Engine::wal_json(SideName active) const {
  const auto standing =
      shared_->wal.with([&](const auto& wal) { return wal[static_cast<std::size_t>(active)]; });
  if (!standing) return nlohmann::json::object();
  nlohmann::json json = {
      {"slot", standing->slot}, {"status", standing->status}, {"kept_bytes", standing->kept_bytes}};
  if (standing->safe_bytes) json["safe_bytes"] = *standing->safe_bytes;
  if (const auto alarm = wal_alarm(*standing); !alarm.empty()) json["alarm"] = alarm;
  return json;
}

Result<void> Engine::remove() {
  stop();
  for (const auto from : {SideName::kOld, SideName::kNew}) {
    TRY(auto connection, pg::ReplicationConnection::open(url(from), "banyan_slot"));
    TRY_VOID(remake_slot(from, connection));
    TRY(auto db, connect(url(from)));
    TRY_VOID(drop_publication(db, publication()));
    TRY(auto applying, connect(url(other_side(from))));
    TRY_VOID(delete_stream(applying, stream_name(config_.name, from)));
  }
  return {};
}

// What is left divided by the last minute's rate, in bytes and in rows; the slower of the two
// counts.
void Engine::add_copy(nlohmann::json& json) const {
  std::int64_t copied = 0;
  std::int64_t total = 0;
  std::int64_t rows_left = 0;
  auto& tables = json["tables"] = nlohmann::json::array();
  shared_->tables.with([&](const CopyProgress& all) {
    for (const auto& [name, table] : all) {
      rows_left += std::max<std::int64_t>(0, table.rows_estimate - table.rows);
      const bool is_copied = table.state == TableState::kCopied;
      const auto bytes = is_copied ? table.bytes_total : std::min(table.bytes, table.bytes_total);
      copied += bytes;
      total += table.bytes_total;
      tables.push_back({{"table", name},
                        {"state", table_state_name(table.state)},
                        {"rows_estimate", table.rows_estimate},
                        {"rows_copied", table.rows},
                        {"bytes", bytes}});
    }
  });
  json["copied_bytes"] = copied;
  json["total_bytes"] = total;
  json["throttle"] = shared_->throttle.status();
  const auto rate = shared_->rate.with([](const CopyRate& rate) { return rate.per_second(); });
  json["bytes_per_s"] = static_cast<std::int64_t>(rate.bytes);
  json["rows_per_s"] = static_cast<std::int64_t>(rate.rows);
  const auto seconds = [](std::int64_t left, double per_second) -> std::int64_t {
    return left > 0 && per_second > 0
               ? static_cast<std::int64_t>(static_cast<double>(left) / per_second)
               : 0;
  };
  json["eta_s"] = copied < total
                      ? std::max(seconds(total - copied, rate.bytes), seconds(rows_left, rate.rows))
                      : 0;
}

nlohmann::json Engine::status(SideName active) const {
  nlohmann::json json;
  std::optional<Error> error;
  std::optional<Error> schema_error;
  bool has_caught_up = false;
  shared_->report.with([&](const Shared::Report& report) {
    json["state"] = report.state;
    error = report.error;
    has_caught_up = report.has_caught_up;
    schema_error = report.schema_error;
  });
  add_copy(json);
  const Stream* forward = stream(active);
  const auto following = stream_json(forward);
  json["lag_ms"] = following.value("lag_ms", 0);
  json["lag_bytes"] = following["lag_bytes"];
  json["stream"] = following;
  json["wal"] = wal_json(active);
  json["reverse"] = stream_json(stream(other_side(active)));
  auto& tripwire = json["tripwire"] = nlohmann::json::array();
  add_alarms(tripwire, stream(SideName::kOld), "old");
  add_alarms(tripwire, stream(SideName::kNew), "new");
  if (forward != nullptr) {
    const auto status = forward->status();
    if (status.lag_ms > 5000 && !has_caught_up && json["state"] == "following") {
      json["state"] = "catching_up";
    } else if (json["state"] == "following") {
      shared_->report.change([](Shared::Report& report) { report.has_caught_up = true; });
    }
    if (status.state == StreamState::kFailed) json["state"] = "failed";
    if (status.error) error = status.error;
  }
  if (schema_error) {
    json["state"] = "failed";
    json["error"] = schema_error->message();
    json["remedy"] = schema_error->remedy();
  } else if (error) {
    json["error"] = error->message();
    json["remedy"] = error->remedy();
    if (forward != nullptr && forward->status().state == StreamState::kFailed) {
      json["remedy"] = fmt::format(
          "{} To go on from a new slot, copying only what differs: banyan migrate repair {}",
          error->remedy(), config_.name);
    }
  }
  return json;
}

}  // namespace banyan::replication
