// The verbs verify and repair.
#include <algorithm>
#include <iterator>

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

// Of both directions of a switched split: what was done says more than that the rest was equal.
json joined(json first, const json& second) {
  const bool first_tells = first.value("state", "") != "equal";
  json out = first_tells ? first : second;
  for (const auto& table : (first_tells ? second : first)["tables"]) out["tables"].push_back(table);
  out["rows"] = first.value("rows", 0L) + second.value("rows", 0L);
  return out;
}

}  // namespace

std::vector<Job::Leg> Job::legs(SideName active) const {
  std::vector<Leg> legs;
  if (!config_.is_copies_only) legs.push_back({active, config_.carried(active)});
  if (active == SideName::kNew && has_copies()) legs.push_back({SideName::kOld, config_.copies});
  return legs;
}

Result<std::vector<Job::Leg>> Job::standing_legs() {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "between handover and open nothing is verified");
  }
  return legs(now.active);
}

VerifierOptions Job::verifier_options(const Leg& leg, const std::stop_token& stop) {
  return VerifierOptions{
      .active_url = config_.sides.of(leg.from),
      .passive_url = config_.sides.of(other_side(leg.from)),
      .direction = config_.direction(leg.from, leg.tables),
      .jobs = config_.jobs,
      .limits = {},
      .at_point =
          [this, from = leg.from](const std::function<Result<pg::Lsn>()>& find_point,
                                  const std::function<Result<void>()>& body) {
            return engine_.at_point(from, find_point, kPointPatience, body);
          },
      .is_cancelled = [stop] { return stop.stop_requested(); }};
}

Result<json> Job::verify_once(const std::stop_token& stop) {
  TRY(const auto legs, standing_legs());
  Verdict all;
  all.equal = true;
  for (const auto& leg : legs) {
    TRY(auto verdict, replication::verify(verifier_options(leg, stop)));
    all.equal = all.equal && verdict.equal;
    all.rows += verdict.rows;
    std::ranges::move(verdict.tables, std::back_inserter(all.tables));
  }
  return to_json(all);
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

Result<json> Job::repair_leg(const Leg& leg, const RepairOrder& order,
                             const std::stop_token& stop) {
  const RepairPlan plan{.verifier = verifier_options(leg, stop),
                        .migration = config_.name,
                        .stream = stream_name(config_.name, leg.from),
                        .only = order.table};
  if (engine_.has_failed(leg.from)) return repair_failed(order, plan, leg.from);
  TRY(const auto found, find_differences(plan));
  if (found.equal || order.is_dry_run) return to_json(found);
  TRY(const auto report, repair_live(plan, found));
  return to_json(report);
}

Result<json> Job::repair_once(const RepairOrder& order, const std::stop_token& stop) {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kFenced || now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "a switch is under way: finish or abort it first");
  }
  json all;
  for (const auto& leg : legs(now.active)) {
    TRY(auto report, repair_leg(leg, order, stop));
    all = all.is_null() ? std::move(report) : joined(std::move(all), report);
  }
  return all;
}

Result<json> Job::repair(const RepairOrder& order, Duration wait) {
  return told(
      "repair",
      repair_.run([this, order](const std::stop_token& stop) { return repair_once(order, stop); },
                  wait));
}

}  // namespace banyan::replication
