#pragma once
// Gateways: the gateways that `banyan up` runs, as one. What is asked of them is asked of all at
// the same time; with one there is nothing more to it. A value; any thread.

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "control/layout.h"
#include "wire/rpc/client.h"

namespace banyan::control {

class Gateways {
 public:
  using json = nlohmann::json;
  struct Answer {
    std::string gateway;  // its name: "gateway", "gateway-2"
    Result<json> out;
  };

  // How long each is waited for; one that is known to be lost only a moment.
  struct Patience {
    Duration usual = 10s;
    std::set<std::string> lost = {};
    Duration with(const std::string& gateway) const {
      return lost.contains(gateway) ? Duration(100ms) : usual;
    }
  };

  explicit Gateways(const Layout& layout);

  // One answer a gateway, in their order.
  std::vector<Answer> ask(const std::string& verb, const json& in, const Patience& patience) const;
  // Every one must do it: the first error is the error of all.
  Result<std::vector<json>> insist(const std::string& verb, const json& in,
                                   const Patience& patience) const;
  // Those that answer must do it, and at least one must answer. The others come later: whoever
  // keeps the routes brings them up to date.
  Result<std::vector<json>> tell(const std::string& verb, const json& in,
                                 const Patience& patience) const;
  // The largest epoch in force in any that answers.
  Result<std::int64_t> epoch() const;
  // [{name, endpoints: [{address, draining, healthy, ...}]}] of one that answers.
  Result<json> backends() const;

  const std::vector<rpc::Client>& each() const { return clients_; }
  std::size_t size() const { return clients_.size(); }

 private:
  std::vector<rpc::Client> clients_;
};

}  // namespace banyan::control
