#include "planes/replication/barrier_proof.h"

#include <fmt/format.h>

#include "base/log.h"

namespace banyan::replication {
namespace {

constexpr auto kLongest = 30min;
constexpr const char* kTakeSnapshot =
    "begin isolation level repeatable read read only; select 1 from banyan.migration";

Result<Verdict> compare_held(std::vector<SessionPair>& pairs, const Direction& direction,
                             ProofPass& pass, const std::function<bool()>& is_cancelled) {
  VerifierOptions options;
  options.direction = direction;
  options.coverage = pass.coverage();
  options.rest = kBackgroundRest;
  options.is_cancelled = is_cancelled;
  auto verdict = compare_all(pairs, options);
  pass.finish();
  return verdict;
}

}  // namespace

void BarrierProof::set(std::string state) {
  standing_.with([&](Standing& standing) { standing = {std::move(state), "", std::nullopt}; });
}

Result<void> BarrierProof::warm(const Sides& sides, SideName active, Direction direction) {
  stop();
  TRY(auto here, open_pinned(sides.of(active)));
  TRY(auto there, open_pinned(sides.of(other_side(active))));
  auto held = std::make_shared<Held>();
  held->direction = std::move(direction);
  held->active = active;
  held->pairs.push_back({std::move(here), std::move(there)});
  held_.with([&](auto& known) { known = std::move(held); });
  set("none");
  return {};
}

Result<void> BarrierProof::hold(Epoch epoch) {
  const auto taken = held_.with([&](const auto& held) -> Result<void> {
    if (!held) return failure(Code::kConflict, "no session was warmed");
    TRY_VOID(held->pairs.front().active.exec(std::string("rollback;") + kTakeSnapshot));
    TRY_VOID(held->pairs.front().passive.exec(std::string("rollback;") + kTakeSnapshot));
    held->epoch = epoch;
    held->unproven = std::make_unique<ProofPass>(proof_, held->active, Scope::kUnproven);
    held->all = std::make_unique<ProofPass>(proof_, held->active, Scope::kAll);
    const auto position = fmt::format("barrier {}", epoch.value());
    held->unproven->begin(position);
    held->all->begin(position);
    return {};
  });
  if (taken) set("held");
  return taken;
}

void BarrierProof::drop() {
  stop();
  held_.with([](auto& held) { held.reset(); });
  set("none");
}

void BarrierProof::prove() {
  if (state() != "held") return;
  auto held = held_.with([](auto& known) { return std::exchange(known, nullptr); });
  const auto give_up = SystemClock().now() + kLongest;
  const auto compare = [held, give_up](const std::stop_token& stop) -> Result<Verdict> {
    const auto is_cancelled = [&] {
      return stop.stop_requested() || SystemClock().now() > give_up;
    };
    TRY(auto missing, compare_held(held->pairs, held->direction, *held->unproven, is_cancelled));
    if (!missing.equal) return missing;
    auto every = compare_held(held->pairs, held->direction, *held->all, is_cancelled);
    return every ? std::move(every) : std::move(missing);
  };
  prove_by(compare, held->epoch);
}

void BarrierProof::prove_by(Compare compare, Epoch epoch) {
  set("running");
  thread_.with([&](std::jthread& thread) {
    thread = std::jthread([this, compare = std::move(compare), epoch](const std::stop_token& stop) {
      run(compare, epoch, stop);
    });
  });
}

void BarrierProof::run(const Compare& compare, Epoch epoch, const std::stop_token& stop) {
  auto verdict = compare(stop);
  if (!verdict) log_warn("the switch is not proven yet", {{"error", verdict.error().message()}});
  if (verdict && !verdict->equal) log_error("the sides differed at the switch", {});
  if (verdict && verdict->equal) proof_.set_epoch(epoch.value());
  standing_.with([&](Standing& standing) {
    standing.state = !verdict ? "failed" : verdict->equal ? "equal" : "different";
    if (!verdict) standing.error = verdict.error().message();
    if (verdict) standing.verdict = std::move(*verdict);
  });
}

void BarrierProof::resolve(Epoch epoch) {
  if (state() == "held" || state() == "running") return;
  proof_.set_epoch(epoch.value());
  if (state() != "equal") set("none");
}

void BarrierProof::stop() {
  thread_.with([](std::jthread& thread) { thread = std::jthread(); });
}

std::string BarrierProof::state() const {
  return standing_.with([](const Standing& standing) { return standing.state; });
}

std::optional<Verdict> BarrierProof::verdict() const {
  return standing_.with([](const Standing& standing) { return standing.verdict; });
}

std::string BarrierProof::error() const {
  return standing_.with([](const Standing& standing) { return standing.error; });
}

}  // namespace banyan::replication
