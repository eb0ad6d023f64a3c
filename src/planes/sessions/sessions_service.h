#pragma once
// SessionsService: the verbs sessions.* of an agent. JSON in, JSON out; all idempotent; any thread.
//
// What was started is kept in the state store before the answer and is resumed by open().

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/sessions/session_sync.h"
#include "store/journal.h"

namespace banyan::sessions {

class SessionsService {
 public:
  // Both outlive the service. Resumes every sync that was started and not stopped.
  static Result<std::unique_ptr<SessionsService>> open(store::StateStore& store,
                                                       const Clock& clock);
  SessionsService(store::StateStore& store, const Clock& clock) : store_(store), clock_(clock) {}

  // {name, kind, database, redis, mode, key_prefix?, secret_key? | secret_key_file?} -> {}
  // The same config again changes nothing, also after a final pass; another config starts over.
  Result<nlohmann::json> start(const nlohmann::json& in);
  // {name?} -> {sessions, carried, unreadable, last_pass_ms, direction, state, error?, remedy?};
  // without a name all of them: {syncs: [...]}, and the fields of the only one.
  Result<nlohmann::json> status(const nlohmann::json& in);
  // {name, direction: to_new|to_old} -> {sessions, changed, ms}
  Result<nlohmann::json> final_pass(const nlohmann::json& in);
  // {name, wait_ms?} -> {state: equal|different, sessions, different}
  Result<nlohmann::json> verify(const nlohmann::json& in);
  // {name}: the old side serves (again): carry once more.
  Result<nlohmann::json> resume(const nlohmann::json& in);
  // {name}
  Result<nlohmann::json> stop(const nlohmann::json& in);

 private:
  using Syncs = std::map<std::string, std::shared_ptr<SessionSync>>;

  Result<void> restore();
  Result<std::shared_ptr<SessionSync>> find(const nlohmann::json& in);
  Result<void> remember(const SessionSync& sync);

  store::StateStore& store_;
  const Clock& clock_;
  Guarded<Syncs> syncs_;
};

}  // namespace banyan::sessions
