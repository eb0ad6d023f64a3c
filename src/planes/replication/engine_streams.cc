// The engine's two streams: made, run, made anew, stopped and taken away.
#include <fmt/format.h>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/carried_tables.h"
#include "planes/replication/engine_shared.h"

namespace banyan::replication {

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_engine"});
}

Result<void> check_repaired(const StreamRecord& record) {
  if (record.stage != "repairing") return {};
  const auto name = record.stream.substr(0, record.stream.rfind(':'));
  return std::unexpected(Error(Code::kConflict, "a repair was interrupted")
                             .with_remedy("Repair again: banyan migrate repair " + name));
}

Result<void> Engine::publish(SideName from, pg::Connection& source) const {
  return publish(from, source, config_.carried(from));
}

Result<void> Engine::publish(SideName from, pg::Connection& source,
                             const TableNames& tables) const {
  const auto direction = config_.direction(from, tables);
  if (!is_shared(from)) return replication::publish(source, publication(from), direction);
  const std::lock_guard one_at_a_time(feed_->membership());
  return shared_slot().publish(source, direction);
}

// The tables are published before the slot is: it sends all of what follows its point. Slots that a
// crash left behind are dropped.
Result<SlotStart> Engine::begin_stream(SideName from) {
  TRY(auto source, connect(url(from)));
  if (!is_shared(from)) {
    TRY_VOID(publish(from, source));
    return make_slot(url(from), stem(from), pg::Snapshot::kExport);
  }
  const std::lock_guard one_at_a_time(feed_->membership());
  feed_->join(config_.name, {});
  TRY_VOID(shared_slot().publish(source, config_.streamed(from)));
  TRY(auto start, shared_slot().begin(url(from), config_.slot_prefix));
  feed_->set_slot(start.slot);
  feed_->join(config_.name, start.point);
  return start;
}

// While nothing is applied yet.
Result<void> Engine::receive_early() {
  const std::lock_guard one_feed(shared_->making_feed);
  if (stream(SideName::kOld) != nullptr) return {};
  TRY(auto target, connect(url(SideName::kNew)));
  TRY(const auto record, read_stream(target, stream_name(config_.name, SideName::kOld)));
  const bool is_copying = record && (record->stage == "copying" || record->stage == "indexing");
  if (!is_copying) return {};
  TRY(auto feed, feed_for(SideName::kOld, *record));
  TRY_VOID(feed->open(receiver_config(SideName::kOld, *record), record->start));
  feed->signals().is_wal_short = true;
  log_info("changes are received during the copy", {{"migration", config_.name}});
  shared_->early.with([&](auto& early) { early = {std::move(feed), record->start}; });
  return {};
}

// Starts the stream out of `from` when it was made; nothing otherwise.
Result<void> Engine::run_stream(SideName from) {
  const std::lock_guard one_feed(shared_->making_feed);
  if (Stream* existing = stream(from)) return existing->start(), Result<void>();
  TRY(auto target, connect(url(other_side(from))));
  TRY(const auto record, read_stream(target, stream_name(config_.name, from)));
  if (!record) return {};
  TRY(auto config, stream_config(from, *record));
  std::shared_ptr<Feed> feed;
  if (from == SideName::kOld) {
    feed = shared_->early.with([](auto& early) { return std::exchange(early, {}).feed; });
  }
  if (!feed) {
    TRY(feed, feed_for(from, *record));
  }
  shared_->streams.change([&](auto& streams) {
    auto& slot = streams[static_cast<std::size_t>(from)];
    if (!slot) slot = std::make_unique<Stream>(std::move(config), std::move(feed));
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
  IsCarried is_carried;
  if (is_shared(from)) {
    TRY(auto carried, CarriedTables::create(url(from), config_.name, config_.carried(from)));
    is_carried = [carried = std::make_shared<CarriedTables>(std::move(carried))](
                     const Relation& relation) { return carried->has(relation); };
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
                      .receiver = receiver_config(from, record),
                      .is_carried = std::move(is_carried)};
}

ReceiverConfig Engine::receiver_config(SideName from, const StreamRecord& record) const {
  return {
      .migration = config_.name,
      .url = url(from),
      .publication = publication(from),
      .identity = {.slot = record.slot, .system_id = record.system_id, .timeline = record.timeline},
      .spool_limit = shared_->spool_limit,
      .share = is_shared(from) ? config_.share : ""};
}

// A shared slot may have been made anew for somebody else since `record` was written.
Result<std::shared_ptr<Feed>> Engine::feed_for(SideName from, const StreamRecord& record) {
  if (!is_shared(from)) return std::make_shared<Feed>(config_.spool / side_name(from));
  TRY(auto source, connect(url(from)));
  TRY(const auto slot, shared_slot().slot(source));
  const LogIdentity mine{
      .slot = record.slot, .system_id = record.system_id, .timeline = record.timeline};
  feed_->set_slot(slot.value_or(mine));
  return feed_;
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
  if (Stream* running = stream(active)) running->stop();
  TRY(const auto began, begin_stream(active));
  TRY_VOID(fail_point("repair.slot_made"));
  record->slot = began.slot.slot;
  record->system_id = began.slot.system_id;
  record->timeline = began.slot.timeline;
  record->stage = "repairing";
  record->snapshot.clear();
  record->start = began.point;
  TRY_VOID(retarget_stream(passive, *record));
  TRY_VOID(fail_point("repair.recorded"));
  TRY_VOID(repair(began.snapshot));
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

void Engine::set_schema_error(SideName from, std::optional<Error> error) {
  const bool is_wrong = error.has_value();
  const bool was_wrong = shared_->report.with([&](Shared::Report& report) {
    auto& known = report.schema_errors[static_cast<std::size_t>(from)];
    return std::exchange(known, std::move(error)).has_value();
  });
  Stream* running = stream(from);
  if (running == nullptr) return;
  if (is_wrong) running->stop();
  const bool has_failed = running->status().state == StreamState::kFailed;
  if (was_wrong && !is_wrong && !has_failed) running->start();
}

void Engine::allow_spool(std::int64_t bytes) {
  shared_->spool_limit = bytes;
  for (const auto from : {SideName::kOld, SideName::kNew}) {
    if (Stream* running = stream(from)) running->allow_spool(bytes);
  }
  const auto early = shared_->early.with([](const auto& now) { return now.feed; });
  if (early) early->allow(config_.name, bytes);
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
  TRY_VOID(log_ddl(source, permitted(source, config_.ddl)));
  TRY(const auto tables, read_tables(source, config_.direction(SideName::kNew)));
  TRY_VOID(publish(SideName::kNew, source));
  TRY(const auto start, make_slot(url(SideName::kNew), stem(SideName::kNew), pg::Snapshot::kNone));
  TRY_VOID(fail_point("opposite.slot_made"));
  TRY(auto target, connect(url(SideName::kOld)));
  const auto name = stream_name(config_.name, SideName::kNew);
  // Together: a table that is not marked is one that joined later.
  TRY_VOID(target.exec("begin"));
  auto written = write_stream(target, {.stream = name,
                                       .slot = start.slot.slot,
                                       .system_id = start.slot.system_id,
                                       .timeline = start.slot.timeline,
                                       .stage = "following",
                                       .snapshot = "",
                                       .start = start.point});
  if (written) written = mark_copied(target, name, tables);
  auto ended = target.exec(written ? "commit" : "rollback");
  return written ? std::move(ended) : std::move(written);
}

Result<void> Engine::at_point(SideName active, const std::function<Result<pg::Lsn>()>& find_point,
                              Duration timeout, const std::function<Result<void>()>& body) {
  Stream* running = stream(active);
  if (running == nullptr) return failure(Code::kConflict, "nothing is followed yet");
  return running->at_point(find_point, timeout, body);
}

Result<void> Engine::remove() {
  stop();
  for (const auto from : {SideName::kOld, SideName::kNew}) TRY_VOID(remove_stream(from));
  return {};
}

// The last one takes the slot along.
Result<void> Engine::leave_shared() {
  const std::lock_guard one_at_a_time(feed_->membership());
  TRY(auto source, connect(url(SideName::kOld)));
  bool is_anybody_left = true;
  TRY_VOID(feed_->leave(config_.name, [&]() -> Result<bool> {
    TRY(is_anybody_left, shared_slot().unlist(source));
    return is_anybody_left;
  }));
  if (is_anybody_left) return {};
  return shared_slot().remove(url(SideName::kOld), config_.slot_prefix);
}

Result<void> Engine::remove_stream(SideName from) {
  if (is_shared(from)) {
    TRY_VOID(leave_shared());
  } else {
    TRY(auto connection, pg::ReplicationConnection::open(url(from), "banyan_slot"));
    TRY_VOID(drop_slots(connection, stem(from)));
    TRY(auto source, connect(url(from)));
    TRY_VOID(drop_publication(source, publication(from)));
  }
  TRY(auto applying, connect(url(other_side(from))));
  return delete_stream(applying, stream_name(config_.name, from));
}

Result<void> Engine::keep_copies() {
  stop();
  TRY_VOID(remove_stream(SideName::kNew));
  TRY(auto source, connect(url(SideName::kOld)));
  return publish(SideName::kOld, source, config_.copies);
}

}  // namespace banyan::replication
