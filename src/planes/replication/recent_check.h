#pragma once
// The check in the pause: rows that the stream touched last are compared on both sides. Both stand
// still then, so plain reads are exact. Bounded by keys and by time, not by the
// tables' size; what was not reached is left to `verify`.

#include "planes/replication/stream.h"
#include "planes/replication/verifier.h"

namespace banyan::replication {

Result<Verdict> check_recent(SessionPairRef sides, const Direction& direction,
                             const std::vector<TouchedKey>& touched, Duration budget);

}  // namespace banyan::replication
