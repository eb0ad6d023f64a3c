#pragma once
// The exit codes of every verb, as documented in docs/errors.md.

namespace banyan {

enum class Exit : int {
  kOk = 0,  // done, or no change
  kError = 1,
  kPending = 2,       // plan: changes are pending
  kPrecondition = 3,  // a precondition does not hold
  kUnconfirmed = 4,   // the typed confirmation is missing
  kChanged = 5,       // the world changed since the plan
  kPolicy = 6,        // a policy or scan gate refused
  kAborted = 7,       // aborted and rolled back
  kInconclusive = 8,
};

inline int exit_status(Exit code) {
  return static_cast<int>(code);
}

}  // namespace banyan
