#pragma once
// Engine: one migration's data movement, in background threads: copies the old database into the
// new one, follows it, and after a switch follows the other way round, any number of times.
//
//   prepared -> schema -> copying -> indexing -> catching_up -> following -> completed
//        any state -> failed (waits for start() again) | cancelled
//   States up to indexing are kept in banyan.stream of the new side and survive everything; start()
//   resumes from there. A lost connection is retried for ever with back-off; anything that could
//   make the sides differ (a row count that is not the expected one) is `failed` with a remedy.
//
// Directions are symmetric: one Stream per direction runs all the time, old->new from the
// beginning, new->old from prepare_opposite(). What a stream delivers is applied exactly while the
// side it comes from may be written (its arbiter row, see act_rules.h); what arrives while it may
// not be written is an alarm (`tripwire`) and never applied. So nobody needs to tell the engine
// that a switch happened.
//
// Methods may be called from any thread.

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/replication/act.h"
#include "planes/replication/catalog.h"
#include "planes/replication/engine_config.h"
#include "planes/replication/schema_watch.h"
#include "planes/replication/shared_slot.h"
#include "planes/replication/stream.h"
#include "planes/replication/table_copy.h"
#include "planes/replication/wal_guard.h"

namespace banyan::replication {

// The schema's steps, done by others. Each may be called again after a crash in its middle.
struct SchemaSteps {
  // Tables, types, functions, as of the exported `snapshot` (held meanwhile); no indexes. Called
  // again only with a newer snapshot: what an earlier one gave is replaced.
  std::function<Result<void>(const std::string& snapshot)> pre_data;
  // Primary keys and replica identity indexes: what applying needs.
  std::function<Result<void>()> keys;
  // The other indexes, constraints and triggers, as far as they may exist before the opening.
  std::function<Result<void>()> post_data;
};

class Engine {
 public:
  // `shared` is the feed of `config.share`; null without one.
  Engine(EngineConfig config, SchemaSteps steps, Proof& proof, std::shared_ptr<Feed> shared);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Begins or resumes in the background; nothing when it runs already.
  void start();
  // Ends all threads; the migration stays resumable.
  void stop();

  // The `status` verb's answer without the fields of the act: state, tables, lag of the stream out
  // of `active`, reverse, tripwire, error.
  nlohmann::json status(SideName active = SideName::kOld) const;

  // Makes sure that the stream passive -> active exists and is read; before any fence.
  // Fails with kConflict while the copy is not finished.
  Result<void> prepare_opposite();

  // Runs `body` while the passive side holds exactly the commits of the active side up to `point`
  // (a consistent point of a slot on the active side). Apply stands still meanwhile: be quick.
  Result<void> at_point(SideName active, const std::function<Result<pg::Lsn>()>& find_point,
                        Duration timeout, const std::function<Result<void>()>& body);

  // True when the stream out of `active` cannot go on by itself.
  bool has_failed(SideName active) const;
  // Why it cannot.
  Result<void> check_stream(SideName active) const;
  // A new slot for the stream out of `active`, whose rows were copied before: the stream stands,
  // `repair` makes the passive side equal to the slot's exported snapshot, the stream goes on from
  // there. A crash in between is found by start(): `failed` until this is called again.
  Result<void> remake_stream(
      SideName active, const std::function<Result<void>(const std::string& snapshot)>& repair);

  // Runs `body` while nothing of the stream out of `from` is applied, then lets it go on, with what
  // the copies of tables have left to filter. After a failure it stays stopped.
  Result<void> without_stream(SideName from, const std::function<Result<void>()>& body);
  // The schemas differ: the stream out of `from` stops until they do not. start() looks anew.
  void set_schema_error(SideName from, std::optional<Error> error);

  // The change of the schema before which the stream out of `from` has stopped.
  std::optional<DdlTransaction> ddl_stop(SideName from) const;
  // Up to where the stream out of `from` is applied.
  pg::Lsn position(SideName from) const;

  // How fast the copy may read, from now on.
  void throttle(const ThrottleLimits& limits, const std::string& pause_reason);
  ThrottleLimits throttle_limits() const;

  // How many received bytes may wait, from now on.
  void allow_spool(std::int64_t bytes);

  // Publishes what the stream out of `from` carries, on that side.
  Result<void> publish(SideName from, pg::Connection& source) const;
  // Ends the stream out of the new side for good, and takes `tables` out of the one out of the old.
  Result<void> keep_copies();
  // Ends everything and removes slots and publications (the state tables are the caller's).
  Result<void> remove();

 private:
  struct Shared;
  void run(const std::stop_token& stop);
  Result<void> advance(const std::stop_token& stop);
  Result<void> begin(const std::stop_token& stop);
  Result<void> copy(const std::string& exported_snapshot, const std::stop_token& stop);
  Result<bool> wants_shared_snapshot(pg::Connection& source) const;
  void watch_copy(const std::stop_token& stop);
  void add_copy(nlohmann::json& json) const;
  Result<void> index(const std::stop_token& stop);
  Result<void> follow();
  Result<void> load_tables();
  Result<void> publish(SideName from, pg::Connection& source, const TableNames& tables) const;
  Result<SlotStart> begin_stream(SideName from);
  Result<void> set_stage(const std::string& stage);
  Result<void> run_stream(SideName from);
  Result<void> remove_stream(SideName from);
  Result<void> leave_shared();
  Result<std::shared_ptr<Feed>> feed_for(SideName from, const StreamRecord& record);
  Result<StreamConfig> stream_config(SideName from, const StreamRecord& record);
  ReceiverConfig receiver_config(SideName from, const StreamRecord& record) const;
  Result<void> receive_early();
  Result<void> wait_for_position(pg::Lsn position, const std::stop_token& stop);
  Result<void> make_opposite();
  void set_state(const std::string& state);
  void heartbeat(const std::stop_token& stop);
  void guard_wal(SideName side, pg::Connection& session);
  void release_wal(SideName side, const WalStanding& now);
  nlohmann::json wal_json(SideName active) const;
  nlohmann::json early_json() const;  // the spool of what is received during the copy, or null
  Stream* stream(SideName from) const;
  bool is_shared(SideName from) const { return from == SideName::kOld && feed_ != nullptr; }
  SharedSlot shared_slot() const { return {config_.share, config_.name}; }
  std::string publication(SideName from) const;
  std::string stem(SideName from) const;
  const std::string& url(SideName side) const { return config_.sides.of(side); }

  const EngineConfig config_;
  const SchemaSteps steps_;
  Proof& proof_;
  const std::shared_ptr<Feed> feed_;
  std::unique_ptr<Shared> shared_;
  std::jthread runner_;
  std::jthread heart_;
};

}  // namespace banyan::replication
