#include "planes/replication/barrier_proof.h"

#include "base/log.h"

namespace banyan::replication {
namespace {

constexpr auto kLongest = 30min;
constexpr const char* kTakeSnapshot =
    "begin isolation level repeatable read read only; select 1 from banyan.migration";

}  // namespace

void BarrierProof::set(std::string state) {
  standing_.with([&](Standing& standing) { standing = {std::move(state), "", std::nullopt}; });
}

Result<void> BarrierProof::warm(const std::string& active_url, const std::string& passive_url,
                                Direction direction) {
  stop();
  TRY(auto active, open_pinned(active_url));
  TRY(auto passive, open_pinned(passive_url));
  pairs_.with([&](auto& pairs) {
    pairs.clear();
    pairs.push_back({std::move(active), std::move(passive)});
  });
  direction_.with([&](Direction& known) { known = std::move(direction); });
  set("none");
  return {};
}

Result<void> BarrierProof::hold() {
  const auto held = pairs_.with([](auto& pairs) -> Result<void> {
    if (pairs.empty()) return failure(Code::kConflict, "no session was warmed");
    TRY_VOID(pairs.front().active.exec(std::string("rollback;") + kTakeSnapshot));
    return pairs.front().passive.exec(std::string("rollback;") + kTakeSnapshot);
  });
  if (held) set("held");
  return held;
}

void BarrierProof::drop() {
  stop();
  pairs_.with([](auto& pairs) { pairs.clear(); });
  set("none");
}

void BarrierProof::prove() {
  if (state() != "held") return;
  set("running");
  thread_.with([&](std::jthread& thread) {
    thread = std::jthread([this](const std::stop_token& stop) { run(stop); });
  });
}

Result<Verdict> BarrierProof::compare(const std::stop_token& stop) {
  auto pairs = pairs_.with([](auto& held) { return std::exchange(held, {}); });
  const auto give_up = SystemClock().now() + kLongest;
  VerifierOptions options;
  options.direction = direction_.with([](const Direction& known) { return known; });
  options.is_cancelled = [&] { return stop.stop_requested() || SystemClock().now() > give_up; };
  return compare_all(pairs, options);
}

void BarrierProof::run(const std::stop_token& stop) {
  auto verdict = compare(stop);
  if (!verdict) log_error("the switch is not proven", {{"error", verdict.error().message()}});
  if (verdict && !verdict->equal) log_error("the sides differed at the switch", {});
  standing_.with([&](Standing& standing) {
    standing.state = !verdict ? "failed" : verdict->equal ? "equal" : "different";
    if (!verdict) standing.error = verdict.error().message();
    if (verdict) standing.verdict = std::move(*verdict);
  });
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
