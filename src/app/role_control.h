#pragma once
// `banyan control`: the conductor's process. Runs until SIGTERM; a running act is finished first.

#include "control/layout.h"

namespace banyan {

int run_control(const control::Layout& layout);

}  // namespace banyan
