#pragma once
// Checkpoints: where a fault test stops the conductor. With BANYAN_CHECKPOINTS=DIR in the
// environment, before each act the conductor looks for DIR/<act>; if it is there it is renamed to
// <act>.reached and the conductor goes on when that is gone (at most 10 s). Unset: nothing is done.

#include "control/conductor.h"

namespace banyan::control {

Conductor::Checkpoint stop_at_checkpoints();

}  // namespace banyan::control
