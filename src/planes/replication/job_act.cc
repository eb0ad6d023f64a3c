// The verbs of the act: from prepare to open or abort.
#include <fmt/format.h>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/extension_rows.h"
#include "planes/replication/job.h"
#include "planes/replication/job_json.h"
#include "planes/replication/made_objects.h"
#include "planes/replication/outside_log.h"
#include "planes/replication/sequences.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

constexpr auto kCheckBudget = 50ms;
constexpr auto kArmedAtMost = 60s;  // without an act: writers pay for it

Result<json> empty_answer(const Result<void>& done) {
  if (!done) return std::unexpected(done.error());
  return json::object();
}

}  // namespace

Result<json> Job::state() {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  return to_json(now);
}

// The side whose data is carried over: the active one, or the one that was just handed over.
Result<SideName> Job::source_side(Act& act) {
  TRY(const auto now, act.state());
  return now.act == ActState::kHandedOver ? other_side(now.active) : now.active;
}

// Under a share lock of the passive side's row: it cannot be opened between our look and our
// setval, so a value that an application has taken there is never set back.
Result<SequenceReport> Job::carry() {
  return act_.with([&](Act& act) -> Result<SequenceReport> {
    TRY(const auto from, source_side(act));
    TRY(auto* active, act.session(from));
    TRY(auto* passive, act.session(other_side(from)));
    const auto closed = passive->query(
        "begin; select 1 from banyan.migration where name = " + pg::quote_literal(config_.name) +
        " and state in ('passive', 'handed_over') for share");
    Result<SequenceReport> report = SequenceReport{};
    if (!closed) report = std::unexpected(closed.error());
    if (closed && !closed->empty()) {
      report = carry_sequences(*active, *passive, config_.name, config_.direction(from));
    }
    auto ended = passive->exec(report ? "commit" : "rollback");
    if (report && !ended) report = std::unexpected(std::move(ended).error());
    return report;
  });
}

Result<void> Job::refuse_when_complete() const {
  if (!config_.is_copies_only) return {};
  return failure(Code::kConflict, "the split is complete: there is no way back");
}

Result<json> Job::prepare() {
  TRY_VOID(refuse_when_complete());
  TRY_VOID(engine_.prepare_opposite());
  TRY_VOID(fail_point("prepare.opposite_made"));
  TRY_VOID(act_.with([&](Act& act) -> Result<void> {
    TRY(const auto active, source_side(act));
    TRY(auto* here, act.session(active));
    TRY(auto* there, act.session(other_side(active)));
    const auto direction = config_.direction(active);
    TRY_VOID(keeper(active).check(*here, *there, direction));
    return add_missing_fences(*there, config_.name, config_.direction(other_side(active)),
                              FenceMode::kArmed);
  }));
  TRY_VOID(act_.with([&](Act& act) -> Result<void> {
    TRY(const auto now, act.state());
    if (now.is_closed()) return {};
    return barrier_.warm(config_.sides, now.active, config_.direction(now.active));
  }));
  TRY_VOID(fail_point("prepare.fences_laid"));
  TRY(const auto report, carry());
  TRY_VOID(carry_outside_log());
  // Last: from here on every statement that writes asks the gate.
  TRY_VOID(act_.with([&](Act& act) {
    disarm_in(kArmedAtMost);
    return act.arm();
  }));
  return json{{"sequences", report.count}};
}

Result<json> Job::fence(Epoch epoch, Duration lock_timeout) {
  TRY_VOID(refuse_when_complete());
  TRY(const auto lsn, act_.with([&](Act& act) -> Result<pg::Lsn> {
    TRY(const auto now, act.state());
    if (now.act != ActState::kFenced) TRY_VOID(engine_.check_stream(now.active));
    return act.fence(epoch, lock_timeout);
  }));
  TRY_VOID(fail_point("fence.answer"));
  return json{{"barrier_lsn", pg::format_lsn(lsn)}};
}

Result<json> Job::await(Epoch epoch, Duration timeout) {
  TRY_VOID(act_.with([&](Act& act) -> Result<void> {
    TRY(const auto now, act.state());
    return act.await(epoch, timeout, [&] { return engine_.check_stream(now.active); });
  }));
  TRY_VOID(fail_point("await.answer"));
  return json{{"reached", true}};
}

Result<json> Job::sequences() {
  TRY(const auto report, carry());
  TRY_VOID(fail_point("sequences.set"));
  TRY(const auto outside, carry_outside_log());
  return json{{"count", report.count},
              {"fixed", report.fixed},
              {"large_objects", outside.large_objects.count},
              {"large_objects_changed", outside.large_objects.changed},
              {"unlogged_tables", outside.unlogged.count},
              {"extension_tables", outside.extension_tables.count},
              {"extension_tables_changed", outside.extension_tables.changed}};
}

// Final only while the active side is fenced; before, a rehearsal that leaves less to do. Large
// objects of a split stay: they belong to no table.
Result<Job::OutsideLog> Job::carry_outside_log() {
  return act_.with([&](Act& act) -> Result<OutsideLog> {
    OutsideLog report;
    TRY(const auto now, act.state());
    if (now.act == ActState::kHandedOver) return report;
    TRY(auto* active, act.session(now.active));
    TRY(auto* passive, act.session(other_side(now.active)));
    TRY_VOID(pass_fence(*passive, config_.name));
    TRY_VOID(passive->exec("begin"));
    auto done = [&]() -> Result<void> {
      if (config_.tables.empty()) {
        TRY(report.large_objects, carry_large_objects(*active, *passive));
        const bool are_ours = now.active == SideName::kOld && report.large_objects.count > 0;
        if (are_ours) TRY_VOID(note_large_objects(*passive, config_.name));
      }
      TRY(report.extension_tables,
          carry_extension_rows(*active, *passive, config_.tables_of(now.active)));
      if (now.act != ActState::kFenced) return {};
      TRY(report.unlogged, carry_unlogged(*active, *passive, config_.tables_of(now.active)));
      return {};
    }();
    auto ended = passive->exec(done ? "commit" : "rollback");
    if (!done) return std::unexpected(std::move(done).error());
    if (!ended) return std::unexpected(std::move(ended).error());
    return report;
  });
}

// Both sides stand still behind the barrier: what is seen now is compared after the opening.
Result<void> Job::hold_proof(Act& act) {
  TRY(const auto now, act.state());
  if (now.act != ActState::kFenced) return {};
  TRY(auto* passive, act.session(other_side(now.active)));
  TRY_VOID(passive->query_one("select 1 from banyan.barrier where name = $1 and epoch = $2",
                              {config_.name, std::to_string(now.epoch.value())}));
  return barrier_.hold(now.epoch);
}

Result<json> Job::check() {
  return act_.with([&](Act& act) -> Result<json> {
    TRY_VOID(fail_point("check.start"));
    if (auto held = hold_proof(act); !held) {
      // The switch does not depend on it: `verify` remains.
      log_warn("no snapshots at the barrier", {{"error", held.error().message()}});
    }
    TRY(const auto from, source_side(act));
    TRY(auto* active, act.session(from));
    TRY(auto* passive, act.session(other_side(from)));
    const auto direction = config_.direction(from);
    TRY_VOID(keeper(from).check_again(*active, direction));
    TRY_VOID(check_extension_rows(*active, *passive, direction.from));
    ProofPass last(proof_, from, Scope::kLast);
    VerifierOptions options;
    options.direction = direction;
    options.coverage = last.coverage();
    TRY(const auto verdict,
        compare_until({*active, *passive}, options, SystemClock().now() + kCheckBudget));
    return json{
        {"tables", verdict.tables.size()}, {"rows", verdict.rows}, {"equal", verdict.equal}};
  });
}

Result<json> Job::handover(Epoch epoch) {
  const auto decided = act_.with([&](Act& act) { return act.handover(epoch); });
  TRY_VOID(fail_point("handover.answer"));
  return empty_answer(decided);
}

Result<json> Job::open(Epoch epoch) {
  auto opened = act_.with([&](Act& act) { return act.open(epoch); });
  TRY_VOID(fail_point("open.answer"));
  disarm_in(0s);
  if (opened) barrier_.prove();
  return empty_answer(opened);
}

Result<json> Job::abort(Epoch epoch) {
  const auto aborted = observer_.with([&](Act& act) { return act.abort(epoch); });
  TRY_VOID(fail_point("abort.answer"));
  disarm_in(0s);
  if (aborted) barrier_.drop();
  return empty_answer(aborted);
}

}  // namespace banyan::replication
