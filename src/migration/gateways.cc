#include "migration/gateways.h"

#include <algorithm>

namespace banyan::migration {

void see_gateways(std::span<const GatewaySeen> gateways, Committed committed, Observation& seen) {
  seen.door = Door::kCommitted;
  seen.drained = seen.routed_to = true;
  seen.any_closed = seen.any_missing = false;
  for (const GatewaySeen& gateway : gateways) {
    if (!gateway.answers) {
      seen.any_missing |= committed == Committed::kNo;
      continue;
    }
    seen.door = std::min(seen.door, gateway.door);
    seen.any_closed |= gateway.door != Door::kOpen;
    seen.drained &= gateway.drained;
    seen.routed_to &= gateway.routed_to;
  }
}

}  // namespace banyan::migration
