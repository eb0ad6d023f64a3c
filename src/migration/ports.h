#pragma once
// The seam between the conductor and what it moves: the real planes over RPC, or a simulated world.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/error.h"
#include "migration/cutover.h"

namespace banyan::migration {

enum class Side : std::uint8_t { kOld, kNew };

inline std::string_view side_name(Side side) {
  return side == Side::kOld ? "old" : "new";
}
inline Side other(Side side) {
  return side == Side::kOld ? Side::kNew : Side::kOld;
}

// One attempt at moving a migration to a side. The epoch rises with every attempt and fences the
// gateways and both databases against older ones.
struct Attempt {
  std::string migration;
  std::string act_id;  // "switch-3"
  Side to = Side::kNew;
  std::int64_t epoch = 0;
};

// Acts of this attempt whose success is only known by the receipt they left.
using Receipts = std::set<Act>;

// Fills in of an observation what only receipts can say.
inline void see_receipts(const Receipts& receipts, Observation& seen) {
  seen.prepared = receipts.contains(Act::kPrepare);
  seen.caught_up = receipts.contains(Act::kAwaitBarrier);
  seen.sequences_set = receipts.contains(Act::kSetSequences);
  seen.files_drained = receipts.contains(Act::kDrainFiles);
  seen.sessions_carried = receipts.contains(Act::kCarrySessions);
  seen.checked = receipts.contains(Act::kCheck);
  seen.turned = receipts.contains(Act::kTurn);
  seen.undone = receipts.contains(Act::kUnfence);
}

class World {
 public:
  virtual ~World() = default;
  // What is, right now. Fails when some part cannot be seen; the caller looks again.
  virtual Result<Observation> observe(const Attempt& attempt, const Receipts& receipts) = 0;
  // Does one act; idempotent. The answer is shown to the operator and journalled: {"note": "..."}.
  virtual Result<nlohmann::json> perform(const Attempt& attempt, Act act) = 0;
};

}  // namespace banyan::migration
