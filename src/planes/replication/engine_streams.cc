// The engine's two streams: made, run, made anew, stopped and taken away.
#include <fmt/format.h>

#include <random>
#include <thread>

#include "base/fail_point.h"
#include "planes/replication/engine_shared.h"

namespace banyan::replication {
namespace {

constexpr int kDropTries = 100;
constexpr auto kBetweenDrops = 50ms;

std::string nonce() {
  std::random_device device;
  return fmt::format("{:08x}", device());
}

}  // namespace

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_engine"});
}

Result<void> check_repaired(const StreamRecord& record) {
  if (record.stage != "repairing") return {};
  const auto name = record.stream.substr(0, record.stream.rfind(':'));
  return std::unexpected(Error(Code::kConflict, "a repair was interrupted")
                             .with_remedy("Repair again: banyan migrate repair " + name));
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
  std::set<std::string> copies;
  if (from == SideName::kOld && !config_.copies.empty()) {
    TRY(auto source, connect(url(from)));
    TRY(copies, published_names(source, config_.copies));
  }
  return StreamConfig{.applier = {.migration = config_.name,
                                  .from = from,
                                  .from_url = url(from),
                                  .to_url = url(other_side(from)),
                                  .filters = std::move(filters),
                                  .copies = std::move(copies),
                                  .direction = config_.streamed(from),
                                  .ddl = config_.ddl,
                                  .way = config_.apply_way,
                                  .effort = config_.effort,
                                  .proof = &proof_},
                      .receiver = {.migration = config_.name,
                                   .url = url(from),
                                   .publication = publication(),
                                   .identity = {.slot = record.slot,
                                                .system_id = record.system_id,
                                                .timeline = record.timeline},
                                   .spool_limit = config_.spool_limit},
                      .spool = config_.spool / side_name(from)};
}

bool Engine::has_failed(SideName active) const {
  const Stream* running = stream(active);
  if (running != nullptr) return running->status().state == StreamState::kFailed;
  return shared_->report.with([](const Shared::Report& report) { return !report.is_running; });
}

Result<void> Engine::check_stream(SideName active) const {
  const Stream* running = stream(active);
  if (running == nullptr) return {};
  const auto status = running->status();
  if (status.state != StreamState::kFailed || !status.error) return {};
  return std::unexpected(*status.error);
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
  TRY_VOID(publish(source, publication(), config_.streamed(active)));
  if (Stream* running = stream(active)) running->stop();
  TRY(auto exporter, pg::ReplicationConnection::open(url(active), "banyan_slot"));
  TRY(const auto identity, exporter.identify());
  TRY(record->slot, remake_slot(active, exporter));
  TRY(const auto slot, exporter.create_slot(record->slot, pg::Snapshot::kExport));
  TRY_VOID(fail_point("repair.slot_made"));
  record->system_id = identity.system_id;
  record->timeline = identity.timeline;
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

std::optional<DdlTransaction> Engine::ddl_stop(SideName from) const {
  const Stream* running = stream(from);
  return running == nullptr ? std::nullopt : running->ddl_stop();
}

pg::Lsn Engine::position(SideName from) const {
  const Stream* running = stream(from);
  return running == nullptr ? pg::Lsn() : running->position();
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
  TRY_VOID(publish(source, publication(), config_.streamed(SideName::kNew)));
  TRY(auto connection, pg::ReplicationConnection::open(url(SideName::kNew), "banyan_slot"));
  TRY(const auto identity, connection.identify());
  TRY(const auto name, remake_slot(SideName::kNew, connection));
  TRY(const auto slot, connection.create_slot(name, pg::Snapshot::kNone));
  TRY_VOID(fail_point("opposite.slot_made"));
  TRY(auto target, connect(url(SideName::kOld)));
  return write_stream(target, {.stream = stream_name(config_.name, SideName::kNew),
                               .slot = name,
                               .system_id = identity.system_id,
                               .timeline = identity.timeline,
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

Result<void> Engine::remove() {
  stop();
  for (const auto from : {SideName::kOld, SideName::kNew}) TRY_VOID(remove_stream(from));
  return {};
}

Result<void> Engine::drop_slots(SideName from, pg::ReplicationConnection& connection) {
  for (int attempt = 0; attempt < kDropTries; ++attempt) {
    TRY_VOID(remake_slot(from, connection));
    TRY(const auto left, connection.query("select 1 from pg_catalog.pg_replication_slots where "
                                          "pg_catalog.strpos(slot_name::text, " +
                                          pg::quote_literal(slot_stem(from)) + ") = 1"));
    if (left.empty()) return {};
    // A sender that was just left takes a moment to notice.
    std::this_thread::sleep_for(kBetweenDrops);
  }
  return failure(Code::kUnavailable, "a slot of the migration is still being read", Retry::kSafe);
}

Result<void> Engine::remove_stream(SideName from) {
  TRY(auto connection, pg::ReplicationConnection::open(url(from), "banyan_slot"));
  TRY(auto db, connect(url(from)));
  TRY_VOID(drop_slots(from, connection));
  TRY_VOID(drop_publication(db, publication()));
  TRY(auto applying, connect(url(other_side(from))));
  return delete_stream(applying, stream_name(config_.name, from));
}

Result<void> Engine::keep_copies() {
  stop();
  TRY_VOID(remove_stream(SideName::kNew));
  TRY(auto source, connect(url(SideName::kOld)));
  return publish(source, publication(), config_.direction(SideName::kOld, config_.copies));
}

}  // namespace banyan::replication
