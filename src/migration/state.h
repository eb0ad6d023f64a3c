#pragma once
// The state of a migration, derived from its parts; nothing is stored that can be observed.
//
//   DRAFT ► ASSESSED ► ADOPTED ► COPYING ► FOLLOWING ► VERIFIED ► READY ─switch► FENCING ► SWITCHED
//   SWITCHED ─reverse► FENCING ► REVERSED ─switch► ...       SWITCHED ─complete► COMPLETED
//   any ► BLOCKED (a part failed: reason and remedy)         before SWITCHED ─cancel► CANCELLED
//
// Recorded in the journal (survive a restart): created, assessed, verified_at, completed,
// cancelled. Everything else is seen anew each tick.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::migration {

enum class State : std::uint8_t {
  kDraft,
  kAssessed,
  kAdopted,
  kCopying,
  kFollowing,
  kVerified,
  kReady,
  kFencing,
  kSwitched,
  kReversed,
  kCompleted,
  kCancelled,
  kBlocked,
};

std::string_view state_name(State state);

// One thing that must hold before the switch, with its present value for the operator.
struct Gate {
  std::string name;
  bool green = false;
  std::string seen;  // "lag 12 ms", "2 of 3 instances ready"
};

// What is known of a migration right now.
struct Parts {
  bool cancelled = false;
  bool completed = false;
  bool assessed = false;
  bool adopted = false;      // the gateway serves the routes, and was proven to change nothing
  bool copying = false;      // database or files are in their first copy
  bool following = false;    // every part follows
  bool verified = false;     // every part verified and not stale
  bool act_running = false;  // a switch or reverse is under way
  bool new_side_active = false;
  bool ever_switched = false;
  bool blocked = false;
};

State state_of(const Parts& parts, const std::vector<Gate>& gates);
bool all_green(const std::vector<Gate>& gates);
// The one next command for a state: "banyan migrate verify lift".
std::string next_command(State state, const std::string& migration);

}  // namespace banyan::migration
