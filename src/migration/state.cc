#include "migration/state.h"

#include <algorithm>
#include <array>
#include <utility>

namespace banyan::migration {
namespace {

constexpr std::array<std::string_view, 13> kStateNames = {
    "DRAFT",   "ASSESSED", "ADOPTED",  "COPYING",   "FOLLOWING", "VERIFIED", "READY",
    "FENCING", "SWITCHED", "REVERSED", "COMPLETED", "CANCELLED", "BLOCKED",
};

State before_the_switch(const Parts& parts, const std::vector<Gate>& gates) {
  if (parts.verified && all_green(gates))
    return parts.ever_switched ? State::kReversed : State::kReady;
  if (parts.ever_switched) return State::kReversed;
  if (parts.verified) return State::kVerified;
  if (parts.following) return State::kFollowing;
  if (parts.copying) return State::kCopying;
  if (parts.adopted) return State::kAdopted;
  return parts.assessed ? State::kAssessed : State::kDraft;
}

}  // namespace

std::string_view state_name(State state) {
  return kStateNames[std::to_underlying(state)];
}

bool all_green(const std::vector<Gate>& gates) {
  return std::ranges::all_of(gates, [](const Gate& gate) { return gate.green; });
}

State state_of(const Parts& parts, const std::vector<Gate>& gates) {
  if (parts.completed) return State::kCompleted;
  if (parts.cancelled) return State::kCancelled;
  if (parts.act_running) return State::kFencing;
  if (parts.blocked) return State::kBlocked;
  if (parts.new_side_active) return State::kSwitched;
  return before_the_switch(parts, gates);
}

std::string next_command(State state, const std::string& migration) {
  const std::string migrate = "banyan migrate ";
  switch (state) {
    case State::kDraft:
    case State::kAssessed:
    case State::kAdopted:
      return migrate + "create " + migration;
    case State::kCopying:
    case State::kFencing:
    case State::kBlocked:
      return migrate + "status " + migration + " --watch";
    case State::kFollowing:
      return migrate + "verify " + migration;
    case State::kVerified:
      return migrate + "switch " + migration + " --dry-run";  // shows the gate that is not green
    case State::kReady:
    case State::kReversed:
      return migrate + "switch " + migration;
    case State::kSwitched:
      return migrate + "reverse " + migration;
    case State::kCompleted:
      return migrate + "report " + migration;
    case State::kCancelled:
      return migrate + "create " + migration;
  }
  return migrate + "status " + migration;
}

}  // namespace banyan::migration
