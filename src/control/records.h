#pragma once
// Records: the few things control must remember because they cannot be observed: epochs, which
// migrations were created, cancelled or completed, when they were verified, which side they are on.
// Each survives a restart (StateStore). The side is a copy of what the database's arbiter row says,
// written before the routes are flipped.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "control/routing.h"
#include "store/journal.h"

namespace banyan::control {

struct MigrationRecord {
  bool created = false;
  bool assessed = false;
  bool cancelled = false;
  bool completed = false;
  bool removed = false;  // cancelled or completed, and nothing of it is left to be taken away
  bool ever_switched = false;
  migration::Side side = migration::Side::kOld;
  std::int64_t verified_at_ms = 0;  // wall clock; 0 = never
  nlohmann::json verified;          // what was compared
  nlohmann::json adoption;          // what was compared through the gateway; null: no route moves
  nlohmann::json accepted = nlohmann::json::array();  // findings a person chose to go on despite

  bool is_under_way() const { return created && !cancelled && !completed; }
  // A cancel or complete that failed on its way: nothing but itself, asked again, may follow.
  bool is_ending() const { return (cancelled || completed) && !removed; }
};

// What ends a migration whose cancel or complete was begun.
std::string ending_command(const MigrationRecord& record, const std::string& name);
// kConflict, with the way on, unless it was created and nothing ends it.
Result<void> require_under_way(const MigrationRecord& record, const std::string& name);

class Records {
 public:
  explicit Records(store::StateStore& store) : store_(store) {}

  // A number above every epoch given before and above `seen`.
  Result<std::int64_t> next_epoch(std::int64_t seen);
  Result<MigrationRecord> migration(const std::string& name);
  // Changes what is remembered in one step and gives it: of two changes at once both are kept.
  // `how` may be called again, with what somebody else has changed.
  Result<MigrationRecord> change(const std::string& name,
                                 const std::function<void(MigrationRecord&)>& how);
  Result<Sides> sides();
  // The plan that was last applied, by hash; empty when none was.
  Result<std::string> applied();
  Result<void> set_applied(const std::string& hash);

 private:
  store::StateStore& store_;
};

}  // namespace banyan::control
