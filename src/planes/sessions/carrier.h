#pragma once
// Carrier: makes one SessionStore equal to another, pass by pass.
//
// A quick pass compares the source with what was carried before and touches only what changed. A
// thorough pass also surveys the destination, so that afterwards both hold the same sessions
// whatever happened to the destination in between. The plan is pure; the carrier has no thread.

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "planes/sessions/session_store.h"

namespace banyan::sessions {

// What is known of a session that was carried.
struct Carried {
  std::string from_digest;
  std::string to_digest;  // empty: unreadable, so it was not written
};
using Ledger = std::unordered_map<std::string, Carried>;

struct CarryPlan {
  std::vector<std::string> write;
  std::vector<std::string> erase;
};
// `to` is null in a quick pass.
CarryPlan plan_carry(const std::vector<Fingerprint>& from, const std::vector<Fingerprint>* to,
                     const Ledger& ledger);

enum class Thorough : std::uint8_t { kNo, kYes };

// What to do with a session of the destination whose source cannot be read.
enum class Unreadable : std::uint8_t {
  kErase,  // the destination is a cache: a miss is answered by the source
  kKeep,   // the destination's older state is better than none
};

struct PassResult {
  std::size_t sessions = 0;  // alive in the source
  std::size_t changed = 0;   // written to or erased from the destination
  std::size_t unreadable = 0;
};

struct Comparison {
  std::size_t sessions = 0;
  std::size_t different = 0;  // other content, or on one side only
};

class Carrier {
 public:
  Carrier(SessionStore& from, SessionStore& to, Unreadable unreadable)
      : from_(from), to_(to), unreadable_(unreadable) {}

  Result<PassResult> pass(Thorough thorough);
  // Reads and decodes both stores whole.
  Result<Comparison> compare();
  std::size_t carried() const { return ledger_.size(); }

 private:
  Result<void> copy(const std::vector<std::string>& keys);
  Result<void> erase(const std::vector<std::string>& keys);

  SessionStore& from_;
  SessionStore& to_;
  Unreadable unreadable_;
  Ledger ledger_;
};

}  // namespace banyan::sessions
