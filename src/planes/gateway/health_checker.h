#pragma once
// HealthChecker: asks every endpoint of a backend that has a health rule for its health page, with
// the public Host header, and reports when an endpoint changes between healthy and not.
//
// An endpoint is believed healthy until `fall` checks in a row fail, and again after `rise` that
// succeed (status 200 to 399 within the timeout).
// Belongs to one loop.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "io/event.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/task.h"
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
    Check(io::Loop& loop, std::string of_backend, const EndpointPlan& plan, HealthSpec by_rule)
        : backend(std::move(of_backend)), endpoint(plan), rule(std::move(by_rule)), stop(loop) {}
    std::string backend;
    EndpointPlan endpoint;
    HealthSpec rule;
    std::string host;
    bool healthy = true;
    int streak = 0;  // results in a row that speak against `healthy`
    io::Socket* socket = nullptr;
    io::Event stop;
  };
  using Key = std::pair<std::string, std::string>;  // backend, address

  void keep_or_start(const BackendPlan& backend, const EndpointPlan& endpoint,
                     std::map<Key, Check*>& former);
  static void end(Check& check);
  io::Detached run(std::unique_ptr<Check> check);
  void note(Check& check, bool success);
  Duration jittered(Duration interval);
  io::Task<bool> probe(Check& check);
  io::Task<bool> ask(Check& check, io::Socket& socket, Mono deadline);

  io::Loop& loop_;
  OnChange on_change_;
  std::map<Key, Check*> checks_;  // owned by their coroutines
  int running_ = 0;
  http::IdSource ids_{0x5eed};
};

}  // namespace banyan::gateway
