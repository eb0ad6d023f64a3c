#pragma once
// rpc::Client: calls the verbs of one role over its Unix socket. A value; any thread; a connection
// per call. kUnavailable with Retry::kSafe when nobody listens; kTimeout when no answer came in
// time (the verb may have run: verbs are idempotent, so calling again is safe).

#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "base/error.h"

namespace banyan::rpc {

class Client {
 public:
  // `role` names the other side in errors: "gateway".
  Client(std::string role, std::string socket_path)
      : role_(std::move(role)), socket_path_(std::move(socket_path)) {}

  Result<nlohmann::json> call(const std::string& verb,
                              const nlohmann::json& in = nlohmann::json::object(),
                              Duration timeout = 10s) const;
  // The same, asked again while nobody listens, until `patience` is over: a role being restarted.
  Result<nlohmann::json> call_patiently(const std::string& verb, const nlohmann::json& in,
                                        Duration patience) const;
  // Whether anybody accepts connections there right now.
  bool is_listening() const;
  const std::string& role() const { return role_; }

 private:
  std::string role_;
  std::string socket_path_;
};

}  // namespace banyan::rpc
