#pragma once
// Job: one migration in the replicate role: joins the engine, the act, sequences, verification and
// preflight under one name. Its configuration is a file in the role's state directory; everything
// else it knows is in the two databases, so a killed role resumes with start().
//
// Any thread. Verbs of the act run one at a time; status, state and abort never wait for them.

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "base/guarded.h"
#include "planes/replication/act.h"
#include "planes/replication/barrier_proof.h"
#include "planes/replication/census.h"
#include "planes/replication/engine.h"
#include "planes/replication/errand.h"
#include "planes/replication/outside_log.h"
#include "planes/replication/proof_pass.h"
#include "planes/replication/repair.h"
#include "planes/replication/schema.h"
#include "planes/replication/schema_keeper.h"
#include "planes/replication/sequences.h"
#include "planes/replication/verifier.h"

namespace banyan::replication {

class Job {
 public:
  // `shared` is the feed of `config.share`; null without one.
  Job(EngineConfig config, std::filesystem::path directory, std::shared_ptr<Feed> shared = nullptr);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Begins or resumes in the background; nothing when it runs already or has ended for good.
  void start();
  // From now on, and when the role resumes it: the settings of `config` that may change meanwhile
  // (spool.limit_bytes).
  Result<void> adopt(const nlohmann::json& config);
  // Ends all threads; the migration stays resumable.
  void stop();

  Result<nlohmann::json> status();
  // Starts a run, or takes part in the running one, and waits up to `wait` for its end. A finished
  // verdict is told once; the next call starts a new run.
  Result<nlohmann::json> verify(Scope scope, Duration wait);
  // Makes the passive side's differing rows those of the active side; waits like verify().
  struct RepairOrder {
    std::string table;  // empty: every table
    bool is_dry_run = false;
  };
  Result<nlohmann::json> repair(const RepairOrder& order, Duration wait);

  // Changes the copy's limits: {bytes_per_s?, source_latency_ms?, replica_lag_ms?, pause?}.
  Result<nlohmann::json> throttle(const nlohmann::json& limits);

  Result<nlohmann::json> prepare();
  Result<nlohmann::json> fence(Epoch epoch, Duration lock_timeout);
  Result<nlohmann::json> await(Epoch epoch, Duration timeout);
  Result<nlohmann::json> sequences();
  Result<nlohmann::json> check();
  Result<nlohmann::json> handover(Epoch epoch);
  Result<nlohmann::json> open(Epoch epoch);
  Result<nlohmann::json> abort(Epoch epoch);
  Result<nlohmann::json> state();

  // Removes everything of ours from both databases. Only while the old side is the active one.
  Result<nlohmann::json> cancel();
  // Ends replication for good; the passive side stays closed for writing. Copies of a split are
  // followed on, by a job of the configuration this leaves behind, until kEnd.
  enum class Copies : std::uint8_t { kKeep, kEnd };
  Result<nlohmann::json> complete(Copies copies);
  bool has_copies() const { return !config_.copies.empty(); }

 private:
  struct OutsideLog {
    CarriedObjects large_objects;
    CarriedObjects unlogged;
    CarriedObjects extension_tables;
  };
  Result<void> create_schemas();
  Result<OutsideLog> carry_outside_log();
  SchemaCopy schema_copy() const;
  Result<void> fence_target(pg::Connection& target) const;
  Result<void> restore_pre_data(const std::string& snapshot);
  Result<void> restore_post_data();
  Result<void> make_role();
  SchemaKeeper& keeper(SideName from) { return from == SideName::kOld ? keeper_ : back_keeper_; }
  Result<SideName> source_side(Act& act);
  Result<SequenceReport> carry();
  void run(const std::stop_token& stop);
  void tend(const std::stop_token& stop);
  Result<void> keep_schema();
  // An act armed the fences: they are taken back by tend() once it has ended, or never came.
  void disarm_in(Duration delay);
  Result<void> disarm_when_due();
  void watch_writers(const std::stop_token& stop);
  Result<void> hold_proof(Act& act);
  nlohmann::json writers_json() const;
  nlohmann::json proof_json() const;
  nlohmann::json proven_json(const nlohmann::json& tables) const;
  // A direction in which rows are carried now, with the tables that are.
  struct Leg {
    SideName from;
    TableNames tables;
  };
  std::vector<Leg> legs(SideName active) const;
  Result<std::vector<Leg>> standing_legs();
  // What is compared becomes a part of the proof by `pass`; null: of nothing.
  VerifierOptions verifier_options(const Leg& leg, ProofPass* pass, const std::stop_token& stop);
  Result<Verdict> compare_standing(Scope scope, double rest, const std::stop_token& stop);
  Result<nlohmann::json> verify_once(Scope scope, const std::stop_token& stop);
  Result<void> prove_switch();
  Result<nlohmann::json> repair_once(const RepairOrder& order, const std::stop_token& stop);
  Result<nlohmann::json> repair_leg(const Leg& leg, const RepairOrder& order,
                                    const std::stop_token& stop);
  Result<nlohmann::json> repair_failed(const RepairOrder& order, const RepairPlan& plan,
                                       SideName active);
  Result<void> remove_from(SideName side);
  Result<void> close_split();
  Result<nlohmann::json> complete_but_copies();
  Result<void> refuse_when_complete() const;
  void end_for_good(const std::string& how);
  SchemaSteps schema_steps();

  const EngineConfig config_;
  const std::filesystem::path directory_;
  Guarded<Act> act_;
  Guarded<Act> observer_;  // for what must not wait behind a verb of the act
  Proof proof_;
  Engine engine_;
  SchemaKeeper keeper_;                             // while the old side is followed
  SchemaKeeper back_keeper_;                        // after the switch
  Guarded<std::optional<Mono>> disarm_at_{Mono{}};  // none: nothing is armed on the active side
  Guarded<std::string> ended_;                      // "cancelled", "completed" or empty
  Guarded<std::string> trouble_;                    // why the preparation does not succeed yet
  Census census_;
  BarrierProof barrier_{proof_};
  Guarded<std::jthread> runner_;
  Guarded<std::jthread> watcher_;
  Errand verification_;
  Errand repair_;
};

}  // namespace banyan::replication
