#include "migration/cutover.h"

#include <array>
#include <utility>

namespace banyan::migration {
namespace {

Act after_the_decision(const Observation& seen) {
  if (!seen.opened) return Act::kOpenTarget;
  if (!seen.routed_to) return Act::kFlipRoutes;
  if (seen.any_closed) return Act::kRelease;
  return seen.turned ? Act::kDone : Act::kTurn;  // nobody waits for it: it compares whole states
}

// A database is away. Un-fencing needs only the side being left, and spends the attempt: after it
// the hand-over cannot happen any more, so that releasing to the old side is safe.
Act half_blind(const Observation& seen) {
  if (!seen.past_deadline) return Act::kWait;
  if (!seen.undone) return Act::kUnfence;
  return seen.any_closed ? Act::kRelease : Act::kDone;
}

Act towards_the_old_side(const Observation& seen) {
  if (seen.fenced) return Act::kUnfence;
  return seen.any_closed ? Act::kRelease : Act::kDone;
}

// Behind a closed door: everything that must be true on the other side before it may serve.
Act behind_the_fence(const Observation& seen) {
  if (!seen.caught_up) return Act::kAwaitBarrier;
  if (!seen.sequences_set) return Act::kSetSequences;
  if (!seen.files_drained) return Act::kDrainFiles;
  if (!seen.sessions_carried) return Act::kCarrySessions;
  return seen.checked ? Act::kHandOver : Act::kCheck;
}

Act towards_the_decision(const Observation& seen) {
  if (!seen.prepared) return Act::kPrepare;
  if (seen.door == Door::kOpen) return Act::kHold;
  if (!seen.drained) return Act::kWait;
  if (seen.door == Door::kRevocable) return Act::kCommitHold;
  return seen.fenced ? behind_the_fence(seen) : Act::kFence;
}

constexpr std::array<std::string_view, 17> kActNames = {
    "done",     "wait",      "prepare", "hold",     "commit-hold", "fence",
    "catch-up", "sequences", "files",   "sessions", "check",       "hand-over",
    "open",     "turn",      "flip",    "release",  "un-fence",
};

constexpr std::array<std::string_view, 17> kActPurposes = {
    "",
    "",
    "the way back is made, fences are laid out, sequences are set ahead; nobody waits yet",
    "new requests wait at the gateway; those inside run to their end",
    "from here the door opens only on a decision",
    "the database being left refuses every write; a barrier row is written behind the last one",
    "the barrier row is read back on the other side: everything before it is there",
    "sequences, large objects and unlogged tables get their last values",
    "the last files are carried",
    "the last sessions are carried",
    "rows touched last are compared on both sides; snapshots are kept for the whole proof",
    "THE DECISION: one row; before it everything is undone, after it everything goes forward",
    "the database being entered accepts writes",
    "files are followed the other way",
    "the routes lead to the other side",
    "the waiting requests go on, in their order",
    "the fence is taken back",
};

// The world after an act that did what it is for.
void succeed(Observation& seen, Act act) {
  seen.prepared |= act == Act::kPrepare;
  seen.drained |= act == Act::kHold;
  if (act == Act::kHold) seen.door = Door::kRevocable;
  if (act == Act::kCommitHold) seen.door = Door::kCommitted;
  if (act == Act::kRelease) seen.door = Door::kOpen;
  seen.any_closed = seen.door != Door::kOpen;
  seen.fenced |= act == Act::kFence;
  seen.caught_up |= act == Act::kAwaitBarrier;
  seen.sequences_set |= act == Act::kSetSequences;
  seen.files_drained |= act == Act::kDrainFiles;
  seen.sessions_carried |= act == Act::kCarrySessions;
  seen.checked |= act == Act::kCheck;
  seen.handed_over |= act == Act::kHandOver;
  seen.opened |= act == Act::kOpenTarget;
  seen.routed_to |= act == Act::kFlipRoutes;
  seen.turned |= act == Act::kTurn;
}

}  // namespace

std::string_view act_purpose(Act act) {
  return kActPurposes[std::to_underlying(act)];
}

std::vector<Act> undisturbed_acts(Observation seen) {
  std::vector<Act> acts;
  while (true) {
    const Act act = next_act(Intent::kCutOver, seen);
    if (act == Act::kDone || act == Act::kWait) return acts;
    acts.push_back(act);
    succeed(seen, act);
  }
}

std::string_view act_name(Act act) {
  return kActNames[std::to_underlying(act)];
}

Act next_act(Intent intent, const Observation& seen) {
  if (seen.unseen) return half_blind(seen);
  if (seen.handed_over) return after_the_decision(seen);
  // A fence found behind an open door is somebody's unfinished act: never serve a fenced side.
  const bool torn = seen.fenced && seen.door != Door::kCommitted;
  if (intent == Intent::kAbort || seen.past_deadline || torn || seen.any_missing)
    return towards_the_old_side(seen);
  return towards_the_decision(seen);
}

}  // namespace banyan::migration
