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

std::string ways_out(const std::string& name) {
  return "Rows that differ are named under `tables`, with both versions: `source` is the side that "
         "serves.\n"
         "1. The serving side is right: banyan migrate repair " +
         name +
         " writes them anew on the other one.\n"
         "2. The other side is right: correct the rows by hand where they are served.\n"
         "3. Go back: banyan migrate reverse " +
         name + "; what was written since is kept.\nThen: banyan migrate verify " + name + ".";
}

// Rows of a table that was never compared are counted as copied.
ProofStanding unproven_table(const json& copied) {
  const auto rows = std::max(copied.value("rows_copied", std::int64_t{0}),
                             copied.value("rows_estimate", std::int64_t{0}));
  return {.rows = rows, .unproven_rows = rows, .position = ""};
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

VerifierOptions Job::verifier_options(const Leg& leg, ProofPass* pass,
                                      const std::stop_token& stop) {
  return VerifierOptions{
      .active_url = config_.sides.of(leg.from),
      .passive_url = config_.sides.of(other_side(leg.from)),
      .direction = config_.direction(leg.from, leg.tables),
      .jobs = config_.jobs,
      .limits = {},
      .at_point =
          [this, from = leg.from, pass](const std::function<Result<pg::Lsn>()>& find_point,
                                        const std::function<Result<void>()>& body) {
            pg::Lsn point;
            const auto find = [&]() -> Result<pg::Lsn> {
              TRY(point, find_point());
              return point;
            };
            return engine_.at_point(from, find, kPointPatience, [&]() -> Result<void> {
              TRY_VOID(body());
              if (pass != nullptr) pass->begin(pg::format_lsn(point));
              return {};
            });
          },
      .coverage = pass == nullptr ? Coverage{} : pass->coverage(),
      .snapshot_age = config_.snapshot_age,
      .is_cancelled = [stop] { return stop.stop_requested(); }};
}

Result<Verdict> Job::compare_standing(Scope scope, double rest, const std::stop_token& stop) {
  TRY(const auto legs, standing_legs());
  Verdict all;
  for (const auto& leg : legs) {
    ProofPass pass(proof_, leg.from, scope);
    auto options = verifier_options(leg, &pass, stop);
    options.rest = rest;
    if (rest > 0) options.jobs = 1;
    auto compared = replication::verify(options);
    pass.finish();
    TRY(auto verdict, std::move(compared));
    all.equal = all.equal && verdict.equal;
    all.rows += verdict.rows;
    std::ranges::move(verdict.tables, std::back_inserter(all.tables));
  }
  return all;
}

Result<json> Job::verify_once(Scope scope, const std::stop_token& stop) {
  TRY(const auto verdict, compare_standing(scope, 0, stop));
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (verdict.equal && now.act == ActState::kOpen) barrier_.resolve(now.epoch);
  auto out = to_json(verdict);
  out["scope"] = scope == Scope::kAll ? "all" : "unproven";
  out["proven"] = proven_json(engine_.status().value("tables", json::array()));
  return out;
}

Result<json> Job::verify(Scope scope, Duration wait) {
  return told(
      "verification",
      verification_.run(
          [this, scope](const std::stop_token& stop) { return verify_once(scope, stop); }, wait));
}

// After a switch: what the snapshots of the barrier did not prove, because the role died or they
// grew too old, is compared as it is now, until it is equal or known to differ.
Result<void> Job::prove_switch() {
  if (config_.is_copies_only) return {};
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act != ActState::kOpen || proof_.epoch() >= now.epoch.value()) return {};
  const auto state = barrier_.state();
  if (state == "held") barrier_.prove();
  if (state != "none" && state != "failed") return {};
  barrier_.prove_by(
      [this](const std::stop_token& stop) {
        return compare_standing(Scope::kUnproven, kBackgroundRest, stop);
      },
      now.epoch);
  return {};
}

json Job::proof_json() const {
  json out = {{"state", barrier_.state()}};
  if (const auto error = barrier_.error(); !error.empty()) out["error"] = error;
  const auto verdict = barrier_.verdict();
  if (!verdict) return out;
  out["rows"] = verdict->rows;
  out["tables"] = json::array();
  for (const auto& table : verdict->tables) {
    if (!table.equal) out["tables"].push_back(to_json(table));
  }
  if (!verdict->equal) out["remedy"] = ways_out(config_.name);
  return out;
}

// `tables` are those of the copy.
json Job::proven_json(const json& tables) const {
  const auto proven = proof_.standing();
  ProofStanding all;
  json list = json::array();
  for (const auto& copied : tables) {
    const auto name = copied.value("table", "");
    const auto found = proven.find(name);
    const auto table = found == proven.end() ? unproven_table(copied) : found->second;
    all.rows += table.rows;
    all.unproven_rows += table.unproven_rows;
    list.push_back({{"table", name},
                    {"rows", table.rows},
                    {"unproven_rows", table.unproven_rows},
                    {"position", table.position},
                    {"at_ms", table.at_ms}});
  }
  return {{"rows", all.rows}, {"unproven_rows", all.unproven_rows}, {"tables", std::move(list)}};
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
  const RepairPlan plan{.verifier = verifier_options(leg, nullptr, stop),
                        .migration = config_.name,
                        .stream = stream_name(config_.name, leg.from),
                        .only = order.table};
  if (engine_.has_failed(leg.from)) return repair_failed(order, plan, leg.from);
  ProofPass pass(proof_, leg.from, Scope::kAll);
  auto finding = plan;
  finding.verifier = verifier_options(leg, &pass, stop);
  TRY(const auto found, find_differences(finding));
  pass.finish();  // what differs is not proven any more, before it is written
  if (found.equal || order.is_dry_run) return to_json(found);
  TRY(const auto report, repair_live(plan, found));
  return to_json(report);
}

Result<json> Job::repair_once(const RepairOrder& order, const std::stop_token& stop) {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.is_closed()) {
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
