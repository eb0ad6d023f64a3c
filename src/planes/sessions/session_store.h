#pragma once
// SessionStore: where an application keeps its sessions. The carrier moves sessions from any store
// to any other through this seam.
//
// Stores reconnect by themselves: after a failed call the next one starts afresh. One thread at a
// time. Session keys are secrets: they appear in no log and no answer.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "planes/sessions/value.h"

namespace banyan::sessions {

// What tells whether a stored session changed, without reading it.
struct Fingerprint {
  std::string key;
  std::string digest;  // of the stored bytes; comparable within one store only
  std::int64_t left_ms = 0;
};

struct Session {
  std::string key;
  std::string digest;
  std::int64_t left_ms = 0;    // time to live; a store never gives it more
  std::optional<Value> value;  // nothing when this store's bytes cannot be read as plain values
};

class SessionStore {
 public:
  virtual ~SessionStore() = default;
  // All sessions that have not expired; each key once.
  virtual Result<std::vector<Fingerprint>> survey() = 0;
  // Those of `keys` that still exist.
  virtual Result<std::vector<Session>> read(std::span<const std::string> keys) = 0;
  // Creates or replaces; every session has a value. The digests stored, in order.
  virtual Result<std::vector<std::string>> write(std::span<const Session> sessions) = 0;
  virtual Result<void> erase(std::span<const std::string> keys) = 0;
};

// Whether Django would have made it: 8 to 40 letters and digits.
bool is_session_key(std::string_view key);

}  // namespace banyan::sessions
