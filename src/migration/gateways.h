#pragma once
// What several gateways that hold together are to the policy: one door. Pure.
//
// Nothing goes forward before every gateway has closed, is drained and has committed; one that does
// not answer before that ends the attempt. One that has committed and does not answer any more
// cannot open by itself, is closed again after a crash (its phase is on its disk), and opens only
// with routes of this attempt's epoch: it is left out, and who keeps the routes brings it back.

#include <span>

#include "migration/cutover.h"

namespace banyan::migration {

struct GatewaySeen {
  bool answers = true;  // when false, nothing else is known
  Door door = Door::kOpen;
  bool drained = false;
  bool routed_to = false;
};

enum class Committed : std::uint8_t { kNo, kByAll };

// Fills in of an observation what the gateways say together. At least one must answer.
void see_gateways(std::span<const GatewaySeen> gateways, Committed committed, Observation& seen);

}  // namespace banyan::migration
