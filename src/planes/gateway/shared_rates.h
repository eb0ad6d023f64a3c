#pragma once
// SharedRates: one rate of a client over several gateways, counted in Redis by a thread.
//
// Every kInterval it tells Redis what each client was admitted here, and lowers the client's bucket
// (ClientRates) to what all gateways together have left of it; it raises none. Requests never wait
// for it. Redis counts what was admitted, not what was asked, and what exceeded the burst as a debt
// that is paid before more is admitted, so that in any time T all gateways together admit at most
//   burst + rate * T + gateways * rate * (kInterval + round trip)
// and, where a client is new to a gateway, that gateway's burst, once and as a debt.
//
// While Redis is away every gateway goes by its own buckets, as without sharing; what it admits
// then is nobody's debt. A connection is looked up, the password too, anew each time.

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "planes/gateway/client_rates.h"
#include "planes/gateway/snapshot.h"
#include "wire/redis/client.h"

namespace banyan::gateway {

// What the thread asks of Redis for these clients, and how many tokens its answer says each has.
redis::Command charge_command(const std::string& key_prefix, Rate rate,
                              std::span<const ClientRates::Asked> clients);
Result<std::vector<double>> tokens_left(const redis::Reply& reply, std::size_t clients);

class SharedRates {
 public:
  static constexpr Duration kInterval = 50ms;

  // Both outlive it.
  SharedRates(ClientRates& rates, const Clock& clock) : rates_(rates), clock_(clock) {}

  // One thread at a time. A change of these settings waits for the exchange under way.
  void adopt(const RouteSnapshot& snapshot);
  // Nothing when rates are not shared. Any thread.
  std::optional<bool> is_up() const;

 private:
  enum class State : std::uint8_t { kOff, kStarting, kDown, kUp };
  struct Options {
    spec::SecretPlace redis;
    std::string key_prefix;
    Rate rate;
    bool operator==(const Options&) const = default;
  };
  using Connection = std::optional<redis::Client>;
  static std::optional<Options> options_of(const RouteSnapshot& snapshot);
  void run(const std::stop_token& stop, const Options& options);
  Result<void> step(const Options& options, Connection& connection);
  Result<void> exchange(const Options& options, redis::Client& client);
  void note(const Result<void>& done);

  ClientRates& rates_;
  const Clock& clock_;
  std::optional<Options> options_;
  std::atomic<State> state_ = State::kOff;
  std::jthread thread_;
};

}  // namespace banyan::gateway
