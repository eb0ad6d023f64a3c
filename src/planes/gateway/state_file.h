#pragma once
// StateFile: what a gateway must remember: its last snapshot, the hold's order and which endpoints
// are being drained. One JSON file, written to a temporary name, fsynced and renamed: after `write`
// returns, a crash does not undo it.

#include <compare>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "planes/gateway/hold.h"
#include "planes/gateway/snapshot.h"

namespace banyan::gateway {

struct GatewayState {
  std::optional<RouteSnapshot> snapshot;
  HoldOrder hold;
  std::set<EndpointName> draining;
};

class StateFile {
 public:
  explicit StateFile(std::string directory) : directory_(std::move(directory)) {}
  // An empty state when there is no file yet; Code::kCorruption when it cannot be understood.
  Result<GatewayState> read() const;
  Result<void> write(const GatewayState& state) const;

 private:
  std::string path() const { return directory_ + "/gateway.json"; }

  std::string directory_;
};

}  // namespace banyan::gateway
