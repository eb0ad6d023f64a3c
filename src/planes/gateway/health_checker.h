#pragma once
// HealthChecker: asks every endpoint of a backend that has a health rule whether it is alive, and
// reports when an endpoint changes between healthy and not.
//
// Each check is a connection of its own, in the backend's protocol, with TLS where the backend has
// it. http: the health page, with the public Host header. tcp: the connection is enough. grpc:
// grpc.health.v1.Health/Check says SERVING. An endpoint is believed healthy until `fall` checks in
// a row fail, and again after `rise` that succeed.
// Belongs to one loop.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "io/event.h"
#include "io/loop.h"
#include "io/task.h"
#include "planes/gateway/pool.h"
#include "planes/gateway/routing.h"
#include "wire/http/head_writer.h"

namespace banyan::gateway {

class HealthChecker {
 public:
  using OnChange =
      std::function<void(const std::string& backend, const std::string& address, bool healthy)>;

  // `on_change` is called on the loop's thread.
  HealthChecker(io::Loop& loop, OnChange on_change)
      : loop_(loop), on_change_(std::move(on_change)) {}
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  // Checks of unchanged endpoints go on with what they know.
  void adopt(const Routing& routing);
  // As if it had failed its checks; a predecessor saw that.
  void assume_unhealthy(const std::string& backend, const std::string& address);
  void stop();
  bool stopped() const { return running_ == 0; }

 private:
  struct Check {
    Check(io::Loop& loop, const std::string& backend, const EndpointPlan& plan,
          spec::Health by_rule)
        : target(loop, backend, plan, no_windows), rule(std::move(by_rule)), stop(loop) {}
    h2::WindowBudget no_windows{0};
    Endpoint target;  // its own, beside the workers'
    spec::Health rule;
    std::string host;
    std::vector<spec::StatusRange> expected;
    bool healthy = true;
    int streak = 0;  // results in a row that speak against `healthy`
    Upstream* asked = nullptr;
    io::Event stop;
  };
  using Key = std::pair<std::string, std::string>;  // backend, address

  void keep_or_start(const BackendPlan& backend, const EndpointPlan& endpoint,
                     std::map<Key, Check*>& former);
  static void end(Check& check);
  io::Detached run(std::unique_ptr<Check> check);
  void note(Check& check, bool success);
  Duration pause_after(const spec::Health& rule);
  io::Task<bool> probe(Check& check);
  static io::Task<bool> ask(const Check& check, Upstream& upstream, Mono deadline);

  io::Loop& loop_;
  OnChange on_change_;
  std::map<Key, Check*> checks_;  // owned by their coroutines
  int running_ = 0;
  http::IdSource ids_{0x5eed};
};

}  // namespace banyan::gateway
