#include "control/live_world.h"

#include <fmt/format.h>

#include "migration/gateways.h"

namespace banyan::control {

using migration::Act;
using migration::Attempt;
using migration::Door;
using migration::Observation;
using migration::Receipts;
using migration::Side;
using nlohmann::json;

namespace {

constexpr long kFenceLockTimeoutMs = 300;
constexpr long kAwaitMs = 5000;
constexpr long kFileBarrierMs = 3000;

Door door_of(const json& status) {
  const std::string phase = status.value("phase", "open");
  return phase == "committed"   ? Door::kCommitted
         : phase == "revocable" ? Door::kRevocable
                                : Door::kOpen;
}

migration::GatewaySeen gateway_seen(const json& status, const Attempt& attempt) {
  const bool ours = status.value("hold_epoch", std::int64_t{0}) == attempt.epoch;
  migration::GatewaySeen seen;
  seen.door = door_of(status);
  if (seen.door == Door::kRevocable && !ours) seen.door = Door::kOpen;
  seen.drained = seen.door != Door::kOpen && status.value("in_flight", 1) == 0;
  seen.routed_to = status.value("epoch", std::int64_t{0}) >= attempt.epoch;
  return seen;
}

json merged(const std::vector<json>& answers) {
  json out = answers.front();
  for (std::size_t i = 1; i < answers.size(); ++i) {
    for (const char* key : {"in_flight", "reads", "writes", "streams", "held", "refused", "failed"})
      if (answers[i].contains(key)) out[key] = out.value(key, 0L) + answers[i].value(key, 0L);
    out["longest_hold_ms"] =
        std::max(out.value("longest_hold_ms", 0L), answers[i].value("longest_hold_ms", 0L));
  }
  return out;
}

void see_database(const json& state, const Attempt& attempt, Observation& seen) {
  const bool on_new = state.value("active", "old") == "new";
  const std::string act = state.value("act", "running");
  const bool arrived = on_new == (attempt.to == Side::kNew);
  seen.handed_over = arrived || act == "handed_over";
  seen.fenced = seen.handed_over || act == "fenced";
  seen.opened = arrived && act != "handed_over";
}

}  // namespace

const spec::Migration& LiveWorld::migration(const Attempt& attempt) const {
  return spec_.migrations.at(attempt.migration);
}

Result<void> LiveWorld::see_gateways(const Attempt& attempt, const Receipts& receipts,
                                     Observation& seen) {
  std::vector<migration::GatewaySeen> gateways;
  std::set<std::string> lost;
  std::optional<Error> error;
  for (const auto& [name, status] : project_.gateways().ask("status", json::object(), patience_)) {
    gateways.push_back(status ? gateway_seen(*status, attempt)
                              : migration::GatewaySeen{.answers = false});
    if (status) continue;
    lost.insert(name);
    error = status.error();
  }
  if (lost.size() == gateways.size()) return std::unexpected(*error);
  patience_.lost = std::move(lost);
  const auto committed = receipts.contains(Act::kCommitHold) ? migration::Committed::kByAll
                                                             : migration::Committed::kNo;
  migration::see_gateways(gateways, committed, seen);
  return {};
}

Result<Observation> LiveWorld::observe(const Attempt& attempt, const Receipts& receipts) {
  Observation seen;
  TRY_VOID(see_gateways(attempt, receipts, seen));
  see_receipts(receipts, seen);
  const auto state = project_.replicate().call("act.state", {{"name", attempt.migration}});
  seen.unseen = !state;
  if (state) see_database(*state, attempt, seen);
  decided_ = seen.handed_over;
  act_epoch_ = state ? state->value("epoch", attempt.epoch) : attempt.epoch;
  return seen;
}

Result<json> LiveWorld::perform(const Attempt& attempt, Act act) {
  switch (act) {
    case Act::kHold:
    case Act::kCommitHold:
    case Act::kFlipRoutes:
    case Act::kRelease:
      return traffic(attempt, act);
    case Act::kDrainFiles:
    case Act::kCarrySessions:
    case Act::kTurn:
      return companions(attempt, act);
    default:
      return data(attempt, act);
  }
}

Result<json> LiveWorld::traffic(const Attempt& attempt, Act act) {
  switch (act) {
    case Act::kHold:
      return hold(attempt);
    case Act::kCommitHold: {
      TRY(const auto answers,
          project_.gateways().insist("hold.commit", {{"epoch", attempt.epoch}}, patience_));
      return merged(answers);
    }
    case Act::kFlipRoutes:
      return flip(attempt);
    default:
      return release(attempt);
  }
}

Result<json> LiveWorld::hold(const Attempt& attempt) {
  const auto& bounds = spec_.gateway.hold;
  const auto gateways = static_cast<std::int64_t>(project_.gateways().size());
  const json order = {{"epoch", attempt.epoch},
                      {"routes", migration(attempt).routes},
                      {"max_requests", (bounds.max_requests + gateways - 1) / gateways},
                      {"max_bytes", (bounds.max_bytes + gateways - 1) / gateways},
                      {"max_body_bytes", bounds.max_body_bytes},
                      {"max_per_client", bounds.max_per_client},
                      {"max_ms", bounds.max_wait.count()},
                      {"resume", bounds.resume_percent / 100.0}};
  TRY(const auto answers, project_.gateways().insist("hold.close", order, patience_));
  return merged(answers);
}

Result<json> LiveWorld::put_routes(const Attempt& attempt, Side side) {
  TRY(auto sides, records_.sides());
  sides[attempt.migration] = side;
  TRY(const json fleet, project_.agent().call("fleet.status"));
  const json snapshot = route_snapshot(spec_, fleet, sides, attempt.epoch);
  TRY_VOID(project_.gateways().tell("snapshot.put", {{"snapshot", snapshot}}, patience_));
  return json::object();
}

// The side is recorded before the routes lead there: whoever rebuilds the routes later agrees.
Result<json> LiveWorld::flip(const Attempt& attempt) {
  TRY_VOID(records_.change(attempt.migration, [&](MigrationRecord& record) {
    record.side = attempt.to;
    record.ever_switched = true;
  }));
  TRY_VOID(put_routes(attempt, attempt.to));
  return json{{"note", fmt::format("epoch {}", attempt.epoch)}};
}

Result<json> LiveWorld::release(const Attempt& attempt) {
  const Side serving = decided_ ? attempt.to : migration::other(attempt.to);
  if (!decided_) TRY_VOID(put_routes(attempt, serving));
  // The final pass stopped the carrying of sessions; where the old side serves it goes on.
  if (serving == Side::kOld && migration(attempt).sessions)
    TRY_VOID(project_.agent().call("sessions.resume", {{"name", attempt.migration}}));
  TRY(const auto answers,
      project_.gateways().tell("hold.open", {{"epoch", attempt.epoch}}, patience_));
  return merged(answers);
}

Result<json> LiveWorld::call_data(const Attempt& attempt, const std::string& verb, json extra) {
  extra["name"] = attempt.migration;
  extra["epoch"] = verb == "act.abort" ? act_epoch_ : attempt.epoch;
  return project_.replicate().call(verb, extra, 15s);
}

Result<json> LiveWorld::data(const Attempt& attempt, Act act) {
  switch (act) {
    case Act::kPrepare:
      return call_data(attempt, "act.prepare", json::object());
    case Act::kFence:
      return call_data(attempt, "act.fence", {{"lock_timeout_ms", kFenceLockTimeoutMs}});
    case Act::kAwaitBarrier:
      return call_data(attempt, "act.await", {{"timeout_ms", kAwaitMs}});
    case Act::kSetSequences:
      return call_data(attempt, "act.sequences", json::object());
    case Act::kCheck:
      return call_data(attempt, "act.check", json::object());
    case Act::kHandOver:
      return call_data(attempt, "act.handover", json::object());
    case Act::kOpenTarget:
      return call_data(attempt, "act.open", json::object());
    case Act::kUnfence:
      return call_data(attempt, "act.abort", json::object());
    default:
      return failure(Code::kInternal, "not an act of the database");
  }
}

Result<json> LiveWorld::companions(const Attempt& attempt, Act act) {
  switch (act) {
    case Act::kDrainFiles:
      return drain_files(attempt);
    case Act::kCarrySessions:
      return carry_sessions(attempt);
    default:
      return turn(attempt);
  }
}

Result<json> LiveWorld::drain_files(const Attempt& attempt) {
  json drained = json::array();
  for (const auto& move : migration(attempt).files) {
    TRY(json one, project_.agent().call("files.barrier",
                                        {{"name", move.files}, {"timeout_ms", kFileBarrierMs}}));
    drained.push_back(std::move(one));
  }
  return json{{"files", drained}};
}

Result<json> LiveWorld::carry_sessions(const Attempt& attempt) {
  if (!migration(attempt).sessions) return json::object();
  const std::string direction = attempt.to == Side::kNew ? "to_new" : "to_old";
  return project_.agent().call("sessions.final",
                               {{"name", attempt.migration}, {"direction", direction}});
}

Result<json> LiveWorld::turn(const Attempt& attempt) {
  const std::string direction = attempt.to == Side::kNew ? "to_disk" : "to_bucket";
  for (const auto& move : migration(attempt).files)
    TRY_VOID(
        project_.agent().call("files.direction", {{"name", move.files}, {"direction", direction}}));
  return json{{"files", direction}};
}

}  // namespace banyan::control
