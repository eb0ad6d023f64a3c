#pragma once
// The cutover policy: one pure function from what is wanted and what is observed to the next act.
//
// It remembers nothing: a conductor that crashed and was restarted observes and goes on. The point
// of decision is the hand-over row in the database being left (or, where no database moves, the
// journal): before it every path ends with the old side serving, after it with the new one.
//
//   open ─hold─► revocable ─drained─► committed ─► fenced ─► caught up ─► sequences, files,
//   sessions, check ─► HAND-OVER ─► open target ─► flip routes ─► release ─► turn the files'
//   direction
//        any failure or the deadline before HAND-OVER: un-fence ─► release to the old side

#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

namespace banyan::migration {

enum class Intent : std::uint8_t { kCutOver, kAbort };

// A gateway's door. Revocable: it reopens by itself at its bound. Committed: only on a decision.
enum class Door : std::uint8_t { kOpen, kRevocable, kCommitted };

// What is seen of the world in one tick. "from" is the side being left, "to" the side entered.
struct Observation {
  // The gateways that answer, together (gateways.h).
  Door door = Door::kOpen;   // the least closed
  bool any_closed = false;   // one waits to be released
  bool drained = false;      // in none is anything left that was inside before the doors closed
  bool routed_to = false;    // the current route snapshots lead to the new side
  bool any_missing = false;  // one does not answer and may be open
  // Database, from its own rows. When one of the two cannot be read, only `unseen` is said of it.
  bool unseen = false;
  bool prepared = false;     // opposite slot exists, triggers are there, sequences are ahead
  bool fenced = false;       // the side being left refuses writes
  bool caught_up = false;    // the barrier row was read back on the other side
  bool handed_over = false;  // the decision
  bool opened = false;       // the side entered accepts writes of applications
  // Acts that leave only a receipt in the journal, per epoch.
  bool sequences_set = false;
  bool files_drained = false;
  bool sessions_carried = false;
  bool checked = false;  // recently touched rows compare equal
  bool undone = false;   // un-fenced for good: the hand-over of this attempt can no longer happen
  bool turned = false;   // files are followed from the side that serves
  // Time.
  bool past_deadline = false;  // the hold budget is spent
  friend auto operator<=>(const Observation&, const Observation&) = default;
};

enum class Act : std::uint8_t {
  kDone,  // released; on the side the decision says
  kWait,  // nothing to do but observe again
  kPrepare,
  kHold,
  kCommitHold,
  kFence,
  kAwaitBarrier,
  kSetSequences,
  kDrainFiles,
  kCarrySessions,
  kCheck,
  kHandOver,  // the point of decision
  kOpenTarget,
  kTurn,
  kFlipRoutes,
  kRelease,
  kUnfence,
};

// The operator's words for an act, also its name in the journal: "hold", "fence", ...
std::string_view act_name(Act act);

Act next_act(Intent intent, const Observation& seen);

// What an act does, for people who look before they leap.
std::string_view act_purpose(Act act);
// The acts of a cutover in which nothing fails, from what is seen now; without waiting.
std::vector<Act> undisturbed_acts(Observation seen);

}  // namespace banyan::migration
