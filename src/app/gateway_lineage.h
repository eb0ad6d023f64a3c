#pragma once
// Lineage: the gateway processes that were upgraded away and still finish their connections. Each
// answers at "<socket>.<pid>"; the one in force answers at "<socket>" and speaks for all of them:
// orders reach every one, and what is inside any of them is inside.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "wire/rpc/client.h"

namespace banyan {

class Lineage {
 public:
  explicit Lineage(std::string socket) : socket_(std::move(socket)) {}

  // Where a predecessor with this pid answers.
  static std::string path_of(const std::string& socket, int pid);

  // The order to every predecessor. An error of one that lives is an error; one that has ended has
  // nothing inside any more.
  Result<std::vector<nlohmann::json>> tell(const std::string& verb, const nlohmann::json& in) const;
  // `own` status with what is inside the predecessors added, and the weakest of their phases.
  Result<nlohmann::json> status(nlohmann::json own) const;

 private:
  std::vector<std::string> paths() const;

  std::string socket_;
};

}  // namespace banyan
