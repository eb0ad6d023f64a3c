#pragma once
// LiveWorld: the real gateways, replicator and agent as the conductor's world, over their sockets.
//
// What a role reports is observed; what it cannot report (sequences copied, files drained, ...) is
// its receipt. The route snapshot put at the end of an attempt carries the attempt's epoch, also on
// the way back: a gateway opens only with a snapshot of that epoch, so that it never serves routes
// of a decision it has missed. Every gateway must close and commit; routes and the release go to
// those that answer (migration/gateways.h says why that is enough). One thread at a time.

#include <nlohmann/json.hpp>

#include "control/project.h"
#include "control/records.h"
#include "migration/ports.h"

namespace banyan::control {

class LiveWorld final : public migration::World {
 public:
  LiveWorld(const Project& project, spec::Spec spec, Records& records)
      : project_(project), spec_(std::move(spec)), records_(records) {
    if (project_.gateways().size() > 1) patience_.usual = 2s;  // users of the others wait meanwhile
  }

  Result<migration::Observation> observe(const migration::Attempt& attempt,
                                         const migration::Receipts& receipts) override;
  Result<nlohmann::json> perform(const migration::Attempt& attempt, migration::Act act) override;

 private:
  using json = nlohmann::json;
  Result<json> traffic(const migration::Attempt& attempt, migration::Act act);
  Result<json> data(const migration::Attempt& attempt, migration::Act act);
  Result<json> companions(const migration::Attempt& attempt, migration::Act act);

  Result<void> see_gateways(const migration::Attempt& attempt, const migration::Receipts& receipts,
                            migration::Observation& seen);
  Result<json> hold(const migration::Attempt& attempt);
  Result<json> release(const migration::Attempt& attempt);
  Result<json> flip(const migration::Attempt& attempt);
  Result<json> put_routes(const migration::Attempt& attempt, migration::Side side);
  Result<json> drain_files(const migration::Attempt& attempt);
  Result<json> carry_sessions(const migration::Attempt& attempt);
  Result<json> turn(const migration::Attempt& attempt);
  Result<json> call_data(const migration::Attempt& attempt, const std::string& verb, json extra);
  const spec::Migration& migration(const migration::Attempt& attempt) const;

  const Project& project_;
  spec::Spec spec_;
  Records& records_;
  Gateways::Patience patience_;  // with the gateways; who was lost when last observed
  bool decided_ = false;         // as last observed: which side a release leads to
  std::int64_t act_epoch_ = 0;   // the epoch under which the database is fenced, as last observed
};

}  // namespace banyan::control
