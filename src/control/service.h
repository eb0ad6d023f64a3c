#pragma once
// ControlService: what `banyan control` answers: plan and apply, and the acts of migrations.
//
// Long work runs on the service's own threads: one conductor for acts, one keeper that follows the
// fleet with the gateway's routes. On start the open act of every migration is finished first;
// until then verbs that change something wait, and are refused when it takes long. The verbs of
// migrations are in service_migrations.cc.

#include <atomic>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/conductor.h"
#include "control/project.h"
#include "control/records.h"

namespace banyan::control {

class ControlService {
 public:
  static Result<std::unique_ptr<ControlService>> create(Project project);
  ~ControlService();  // waits for a running act to reach its end

  using json = nlohmann::json;
  Result<json> status();
  Result<json> plan();
  // {hash?}: kConflict when given and the world moved since.
  Result<json> apply(const json& in);
  // {name, accept?: [finding ids]} → status; or {refused: true, open: [findings], adoption} when
  // something that must hold does not and was not accepted.
  Result<json> create_migration(const json& in);
  Result<json> migration_status(const json& in);
  Result<json> verify(const json& in);
  Result<json> repair(const json& in);
  Result<json> throttle(const json& in);
  Result<json> plan_split(const json& in);
  // {name, to: "new"|"old", dry_run?}: starts the act and answers {act_id, gates}; see events().
  Result<json> cut_over(const json& in);
  // {name, after, act_id?} → {events, act?: {ended, moved, why}}
  Result<json> events(const json& in);
  // Asked again until it succeeds, the migration is BLOCKED; so with complete.
  // {name} → {cancelled, database?: {dropped, kept: [{name, why}]}, files: {name: {removed, kept}}}
  Result<json> cancel(const json& in);
  // {name, typed}: the name typed by the person.
  Result<json> complete(const json& in);
  Result<json> report(const json& in);

 private:
  ControlService(Project project, std::unique_ptr<store::Journal> journal,
                 std::unique_ptr<store::StateStore> store);

  void resume_acts();
  void resume(const std::string& name);
  void keep_routes(const std::stop_token& stop);
  Result<void> keep_routes_once();
  Result<void> open_left_behind(const spec::Spec& spec);
  Result<void> start_parts(const spec::Spec& spec, const spec::Migration& migration);
  Result<void> start_files(const spec::Spec& spec, const spec::Migration& migration);
  Result<void> start_sessions(const spec::Spec& spec, const spec::Migration& migration);
  Result<json> admit(const spec::Spec& spec, const spec::Migration& migration, const json& in);
  Result<json> verify_parts(const spec::Migration& migration, const std::string& scope);
  Result<migration::Attempt> new_attempt(const std::string& name, migration::Side to);
  void run_attempt(spec::Spec spec, migration::Attempt attempt);
  Result<json> discard_files(const json& named);
  Result<json> stop_parts(const spec::Migration& migration, const std::string& verb,
                          const std::string& copies);
  static std::string name_in(const json& in);
  static Result<spec::Migration> find_migration(const spec::Spec& spec, const std::string& name);
  Error busy() const;
  // kConflict while an act is carried out. Waits for the start of this process to end.
  Result<void> refuse_while_busy() const;
  // The right to change routes outside an act, and to begin one: nobody else's epoch comes between.
  // kConflict while an act is carried out.
  Result<std::unique_lock<std::mutex>> lock_routes();
  // Whether there was anything.
  Result<bool> mark_cancelled(const std::string& name);
  Result<void> mark_completed(const std::string& name);
  Result<void> set_removed(const std::string& name);

  Project project_;
  SystemClock clock_;
  std::unique_ptr<store::Journal> journal_;
  std::unique_ptr<store::StateStore> store_;
  Records records_;
  std::mutex change_;             // held by whoever changes routes: an act, apply, the keeper
  std::atomic<bool> busy_{true};  // an act is being carried out
  std::atomic<bool> has_resumed_{false};  // what was under way at the start is brought back
  json kept_;                             // the snapshot the keeper put last; its thread only
  std::jthread conductor_;
  std::jthread keeper_;
};

}  // namespace banyan::control
