#pragma once
// fail_point("name"): a place at which a fault test makes this process die, wait or fail. Compiled
// in always; without BANYAN_CHECKPOINTS in the environment it costs one look at a constant.
//
// With BANYAN_CHECKPOINTS=DIR, a process that comes to the point takes the file DIR/NAME away and
// does what stands in it, once; "DIR/NAME.reached" tells that it does:
//
//   kill        dies at once, as by kill -9
//   delay MS    waits
//   stop        waits until "DIR/NAME.reached" is gone, at most 10 s
//   error       fails with kUnavailable, as if a connection had broken
//
// Any thread. A name is used in one place only (tests/faults/replication_faults.py counts them);
// the conductor's are "conduct." and the act, before it begins.

#include <string_view>

#include "base/error.h"

namespace banyan {

Result<void> fail_point(std::string_view name);

}  // namespace banyan
