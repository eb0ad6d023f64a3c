#include "control/conductor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/fail_point.h"
#include "base/log.h"

namespace banyan::control {

using migration::Act;
using migration::Attempt;
using migration::Door;
using migration::Intent;
using migration::Observation;
using nlohmann::json;
using store::EntryKind;

namespace {

// Acts whose effect cannot be seen afterwards; their receipt is their observation. (Of a gateway
// that is lost later, that it has committed is known by the receipt.)
constexpr std::array kReceiptActs = {Act::kPrepare,      Act::kCommitHold, Act::kAwaitBarrier,
                                     Act::kSetSequences, Act::kDrainFiles, Act::kCarrySessions,
                                     Act::kCheck,        Act::kTurn,       Act::kUnfence};

bool leaves_receipt(Act act) {
  return std::ranges::find(kReceiptActs, act) != kReceiptActs.end();
}

migration::Receipts receipts_of(const std::vector<store::JournalEntry>& entries) {
  migration::Receipts receipts;
  for (const auto& entry : entries)
    for (const Act act : kReceiptActs)
      if (entry.kind == EntryKind::kReceipt && entry.step == act_name(act)) receipts.insert(act);
  return receipts;
}

json to_json(const Attempt& attempt) {
  return {{"to", side_name(attempt.to)}, {"epoch", attempt.epoch}};
}

Attempt attempt_of(const store::JournalEntry& entry) {
  return {.migration = entry.migration,
          .act_id = entry.act_id,
          .to = entry.detail.value("to", "new") == "new" ? migration::Side::kNew
                                                         : migration::Side::kOld,
          .epoch = entry.detail.value("epoch", std::int64_t{0})};
}

}  // namespace

// What one run of the loop carries along; rebuilt from the journal after a crash.
struct Conductor::Progress {
  Intent intent = Intent::kCutOver;
  std::string why_not;
  migration::Receipts receipts;
  std::optional<Mono> door_closed_at;
  bool done = false;
  bool moved = false;
};

Result<void> Conductor::note(const Attempt& attempt, std::string_view step, EntryKind kind,
                             json detail) {
  TRY([[maybe_unused]] const auto sequence, journal_.append({.migration = attempt.migration,
                                                             .act_id = attempt.act_id,
                                                             .step = std::string(step),
                                                             .kind = kind,
                                                             .detail = std::move(detail)}));
  return {};
}

Result<Conclusion> Conductor::run(const Attempt& attempt) {
  TRY_VOID(note(attempt, store::kActStep, EntryKind::kIntent, to_json(attempt)));
  return carry_on(attempt, Intent::kCutOver, "");
}

Result<std::optional<Conclusion>> Conductor::resume(const std::string& migration) {
  TRY(const auto open, journal_.open_act(migration));
  if (!open) return std::nullopt;
  log_warn("finishing an act that was interrupted", {{"act", open->act_id}});
  TRY(auto conclusion, carry_on(attempt_of(*open), Intent::kAbort,
                                "the conductor was restarted in the middle of it"));
  return conclusion;
}

Result<Conclusion> Conductor::carry_on(const Attempt& attempt, Intent intent, std::string why) {
  TRY(const auto entries, journal_.read_act(attempt.act_id));
  Progress progress;
  progress.intent = intent;
  progress.why_not = std::move(why);
  progress.receipts = receipts_of(entries);
  while (!progress.done) tick(attempt, progress);
  const Conclusion conclusion{.moved = progress.moved,
                              .why_not = progress.moved ? "" : progress.why_not};
  TRY_VOID(conclude(attempt, conclusion));
  return conclusion;
}

Result<void> Conductor::conclude(const Attempt& attempt, const Conclusion& conclusion) {
  return note(attempt, store::kActStep, EntryKind::kOutcome,
              {{"moved", conclusion.moved}, {"why", conclusion.why_not}});
}

void Conductor::tick(const Attempt& attempt, Progress& progress) {
  auto seen = world_.observe(attempt, progress.receipts);
  const bool late =
      progress.door_closed_at && clock_.now() - *progress.door_closed_at > limits_.to_decision;
  if (late && progress.why_not.empty())
    progress.why_not = seen && !seen->drained
                           ? "requests on the serving side did not finish in time"
                           : "it was not decided within the hold's bound";
  if (!seen) {
    log_warn("the world cannot be seen",
             {{"act", attempt.act_id}, {"error", seen.error().message()}});
    std::this_thread::sleep_for(limits_.retry_pause);
    return;
  }
  seen->past_deadline = late;
  if (seen->any_missing && !seen->handed_over) {
    progress.intent = Intent::kAbort;
    if (progress.why_not.empty()) progress.why_not = "a gateway was lost before it had committed";
  }
  const Act act = next_act(progress.intent, *seen);
  if (act == Act::kDone) {
    progress.done = true;
    progress.moved = seen->handed_over;
  } else if (act == Act::kWait) {
    std::this_thread::sleep_for(limits_.wait_pause);
  } else {
    act_once(attempt, progress, act);
  }
}

void Conductor::act_once(const Attempt& attempt, Progress& progress, Act act) {
  const std::string_view step = act_name(act);
  if (auto point = fail_point(fmt::format("conduct.{}", step)); !point)
    return failed(progress, act, point.error());
  if (auto intent = note(attempt, step, EntryKind::kIntent, json::object()); !intent)
    return failed(progress, act, intent.error());
  if (act == Act::kHold && !progress.door_closed_at) progress.door_closed_at = clock_.now();
  const Mono before = clock_.now();
  auto result = world_.perform(attempt, act);
  json detail = result ? *result : json{{"error", result.error().message()}};
  detail["ok"] = result.has_value();
  detail["us"] = (clock_.now() - before).count() / 1000;
  const EntryKind kind = result && leaves_receipt(act) ? EntryKind::kReceipt : EntryKind::kOutcome;
  const auto noted = note(attempt, step, kind, std::move(detail));
  if (!result) return failed(progress, act, result.error());
  if (noted && leaves_receipt(act)) progress.receipts.insert(act);
}

// Before the decision a failure means going back; after it, and on the way back, trying again.
void Conductor::failed(Progress& progress, Act act, const Error& error) {
  log_warn("act failed", {{"step", act_name(act)}, {"error", error.message()}});
  progress.intent = Intent::kAbort;
  if (progress.why_not.empty())
    progress.why_not = std::string(act_name(act)) + ": " + error.message();
  const bool must_succeed = act >= Act::kOpenTarget;
  if (must_succeed) std::this_thread::sleep_for(limits_.retry_pause);
}

}  // namespace banyan::control
