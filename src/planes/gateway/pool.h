#pragma once
// Endpoint: one address of a backend as one worker sees it: its load, its idle connections.
//
// An idle connection is watched: when the other side closes it, or says something unasked, it is
// gone at once. It is also closed after kIdleMax, before common servers' own timers run out.
// An endpoint that fails is passed over for a while (ejection.h), whether or not it has health
// checks.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/loop.h"
#include "io/task.h"
#include "planes/gateway/ejection.h"
#include "planes/gateway/load_balancer.h"
#include "planes/gateway/peak_ewma.h"
#include "planes/gateway/routing.h"
#include "planes/gateway/upstream.h"
#include "wire/h2/window_tuner.h"

namespace banyan::gateway {

class Http2Link;

// How an endpoint answered.
struct EndpointAnswer {
  int status = 200;
  Duration took{};         // until the answer began
  Duration retry_after{};  // what it asked for; zero: nothing
};

class Endpoint {
 public:
  static constexpr Duration kIdleMax = 4s;
  static constexpr std::size_t kIdleConnectionsMax = 1024;

  Endpoint(io::Loop& loop, std::string backend, const EndpointPlan& plan,
           h2::WindowBudget& windows);
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
  // It could not be connected to, or died before it answered. `may_eject`: enough others are in.
  void note_failure(bool may_eject);
  void note_answer(const EndpointAnswer& answer, bool may_eject);
  bool is_usable() const { return load.healthy && ejection_.may_take(loop_.now(), load.active); }
  bool is_ejected(Mono now) const { return ejection_.is_out(now); }
  std::uint64_t ejections() const { return ejection_.ejections(); }
  void adopt_rules(const spec::Traffic& traffic) { ejection_.adopt(traffic.eject); }
  // It is new among others, or healthy again: its share grows from a tenth.
  void start_slowly() { started_ = loop_.now(); }
  float weight(Duration slow_start, Mono now) const;
  float cost(Mono now) const { return static_cast<float>(ewma_.cost(now)); }

  EndpointLoad load;           // `tried` is not used here
  std::uint64_t requests = 0;  // dispatched since the endpoint is known
  bool retired = false;        // no longer in the snapshot; goes when load.active is 0

 private:
  io::Loop& loop_;
  std::string backend_;
  h2::WindowBudget& windows_;
  EndpointPlan plan_;
  std::unique_ptr<Upstream> open_stream();
  std::unexpected<Error> unreachable(const Error& error);

  Ejection ejection_{spec::Eject{}};
  PeakEwma ewma_;
  Mono started_{};
  std::string told_;  // why it could not be connected to, in the log at told_at_
  Mono told_at_{};
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
