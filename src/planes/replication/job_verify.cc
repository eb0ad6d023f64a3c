// The verbs verify and repair.
#include "base/log.h"
#include "planes/replication/job.h"
#include "planes/replication/job_json.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

constexpr auto kPointPatience = 60s;  // for the stream to reach a verification's snapshot

// The answer of a verb that is asked for until its work has ended.
Result<json> told(const std::string& what, std::optional<Result<json>> outcome) {
  if (!outcome) return json{{"state", "running"}, {"tables", json::array()}, {"rows", 0}};
  if (*outcome) return std::move(**outcome);
  const auto& error = outcome->error();
  log_error(what + " failed", {{"error", error.message()}});
  return json{{"state", "failed"},
              {"error", error.message()},
              {"remedy", error.remedy()},
              {"tables", json::array()},
              {"rows", 0}};
}

}  // namespace

Result<VerifierOptions> Job::verifier_options(const std::stop_token& stop) {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "between handover and open nothing is verified");
  }
  return VerifierOptions{
      .active_url = config_.sides.of(now.active),
      .passive_url = config_.sides.of(other_side(now.active)),
      .tables = config_.tables,
      .jobs = config_.jobs,
      .limits = {},
      .at_point =
          [this, active = now.active](const std::function<Result<pg::Lsn>()>& find_point,
                                      const std::function<Result<void>()>& body) {
            return engine_.at_point(active, find_point, kPointPatience, body);
          },
      .is_cancelled = [stop] { return stop.stop_requested(); }};
}

Result<json> Job::verify_once(const std::stop_token& stop) {
  TRY(const auto options, verifier_options(stop));
  TRY(const auto verdict, replication::verify(options));
  return to_json(verdict);
}

Result<json> Job::verify(Duration wait) {
  return told(
      "verification",
      verification_.run([this](const std::stop_token& stop) { return verify_once(stop); }, wait));
}

// The stream cannot go on: a new slot, and what differs from its snapshot.
Result<json> Job::repair_failed(const RepairOrder& order, const RepairPlan& plan, SideName active) {
  if (order.is_dry_run) {
    return json{{"state", "failed"},
                {"error", "the stream cannot go on; what differs is known only from a new slot"},
                {"remedy",
                 "Repair without --dry-run: every table is compared, what differs is "
                 "copied, and the stream follows from the new slot."},
                {"tables", json::array()},
                {"rows", 0}};
  }
  RepairReport report;
  TRY_VOID(engine_.remake_stream(active, [&](const std::string& snapshot) -> Result<void> {
    TRY(report, repair_standing(plan, snapshot));
    return {};
  }));
  auto out = to_json(report);
  out["new_slot"] = true;
  return out;
}

Result<json> Job::repair_once(const RepairOrder& order, const std::stop_token& stop) {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kFenced || now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "a switch is under way: finish or abort it first");
  }
  TRY(auto options, verifier_options(stop));
  const RepairPlan plan{.verifier = std::move(options),
                        .migration = config_.name,
                        .stream = stream_name(config_.name, now.active),
                        .only = order.table};
  if (engine_.has_failed(now.active)) return repair_failed(order, plan, now.active);
  TRY(const auto found, find_differences(plan));
  if (found.equal || order.is_dry_run) return to_json(found);
  TRY(const auto report, repair_live(plan, found));
  return to_json(report);
}

Result<json> Job::repair(const RepairOrder& order, Duration wait) {
  return told(
      "repair",
      repair_.run([this, order](const std::stop_token& stop) { return repair_once(order, stop); },
                  wait));
}

}  // namespace banyan::replication
