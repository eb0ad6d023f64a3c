#pragma once
// Backend: the endpoints of one service as one worker sees them, and the rules by which requests
// are spread over them: who is picked, who is passed over, how many may be inside, how many may be
// tried again. Outlives snapshots while requests are inside.

#include <span>
#include <string>
#include <vector>

#include "planes/gateway/load_balancer.h"
#include "planes/gateway/place_queue.h"
#include "planes/gateway/pool.h"
#include "planes/gateway/retry_budget.h"
#include "planes/gateway/routing.h"

namespace banyan::gateway {

class Backend {
 public:
  explicit Backend(std::string name) : name_(std::move(name)) {}
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // Limits of the whole gateway are divided by `workers`, rounded up.
  void adopt(const BackendPlan& plan, std::vector<Endpoint*> endpoints, std::size_t workers);
  // No snapshot names it, and nobody is inside.
  bool is_unused() const;
  void retire() { endpoints_.clear(); }

  const std::string& name() const { return name_; }
  const spec::Traffic& traffic() const { return traffic_; }
  bool hashes() const { return hashes_; }

  // Null when there is none to try. `key`: of what is hashed, 0 when nothing is.
  Endpoint* pick(std::span<Endpoint* const> tried, std::uint64_t key, http::IdSource& ids,
                 Mono now);
  bool in_panic(Mono now);
  // A request would find an endpoint that is believed to work.
  bool can_serve() const;
  void note_failure(Endpoint& endpoint, Mono now) { endpoint.note_failure(may_eject(now)); }
  void note_answer(Endpoint& endpoint, const EndpointAnswer& answer, Mono now) {
    endpoint.note_answer(answer, answer.status >= 500 && may_eject(now));
  }

  PlaceQueue places;
  RetryTokens retries;

 private:
  bool may_eject(Mono now) const;
  void look(std::span<Endpoint* const> tried, Mono now);

  std::string name_;
  spec::Traffic traffic_;
  std::vector<Endpoint*> endpoints_;
  bool hashes_ = false;
  bool measures_ = false;  // response times decide
  bool weighted_ = false;
  std::vector<EndpointLoad> loads_;  // scratch
};

}  // namespace banyan::gateway
