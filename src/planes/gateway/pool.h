#pragma once
// Endpoint: one address of a backend as one worker sees it: its load, its idle connections.
//
// An idle connection is watched: when the other side closes it, or says something unasked, it is
// gone at once. It is also closed after kIdleMax, before common servers' own timers run out.
// An endpoint that failed kFailuresMax times in a row is passed over for a while, each time longer,
// whether or not it has health checks; one answer makes it trusted again.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/loop.h"
#include "io/task.h"
#include "planes/gateway/load_balancer.h"
#include "planes/gateway/routing.h"
#include "planes/gateway/upstream.h"

namespace banyan::gateway {

class Http2Link;

class Endpoint {
 public:
  static constexpr Duration kIdleMax = 4s;
  static constexpr std::size_t kIdleConnectionsMax = 1024;
  static constexpr int kFailuresMax = 3;
  static constexpr Duration kPassedOverFirst = 1s;
  static constexpr int kDoublingsMax = 5;

  Endpoint(io::Loop& loop, std::string backend, const EndpointPlan& plan);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // The most recently used idle connection, or null.
  std::unique_ptr<Upstream> take_idle();
  io::Task<Result<std::unique_ptr<Upstream>>> connect(Mono deadline);
  // Keeps a reusable connection for the next request.
  void give_back(std::unique_ptr<Upstream> upstream);
  // Something happened to an idle connection.
  void drop_idle(const Upstream& upstream);
  void close_idle(Mono idle_before);
  // The worker ends: shared connections end too; `links` is 0 when they have.
  void close_links();
  std::size_t links() const;

  const std::string& backend() const { return backend_; }
  const std::string& address() const { return plan_.address; }
  const std::string& zone() const { return plan_.zone; }
  void adopt(const EndpointPlan& plan);
  // It could not be connected to, or died before it answered.
  void note_failure();
  void note_answer();
  bool is_usable() const { return load.healthy && loop_.now() >= passed_over_until_; }

  EndpointLoad load;           // `tried` is not used here
  std::uint64_t requests = 0;  // dispatched since the endpoint is known
  bool retired = false;        // no longer in the snapshot; goes when load.active is 0

 private:
  io::Loop& loop_;
  std::string backend_;
  EndpointPlan plan_;
  int failures_ = 0;  // in a row
  int doublings_ = 0;
  Mono passed_over_until_{};
  std::unique_ptr<Upstream> open_stream();

  std::vector<std::unique_ptr<Upstream>> idle_;    // oldest first
  std::vector<std::shared_ptr<Http2Link>> links_;  // of an HTTP/2 backend, shared by requests
};

// Counts a request as active at its endpoint while it lives.
class EndpointUse {
 public:
  explicit EndpointUse(Endpoint& endpoint) : endpoint_(endpoint) { ++endpoint_.load.active; }
  EndpointUse(const EndpointUse&) = delete;
  EndpointUse& operator=(const EndpointUse&) = delete;
  ~EndpointUse() { --endpoint_.load.active; }

 private:
  Endpoint& endpoint_;
};

}  // namespace banyan::gateway
