#pragma once
// ClientRates: a token bucket for each client; ClientConnections: how many connections each has.
//
// One of each for the whole process, because a client's connections land on any worker and a share
// of its rate would be of no use. Safe on any thread; locks are spread over shards and held for one
// look-up. Memory is bounded: beyond kClientsMax the fullest buckets are forgotten, which only ever
// allows more. Used only where a limit is configured.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "spec/cidr.h"
#include "spec/traffic.h"

namespace banyan::gateway {

struct Rate {
  double per_second = 0;
  double burst = 1;  // at least 1
  bool operator==(const Rate&) const = default;
};

// Of one client, by the gateway's limits, which have such a rate.
Rate client_rate(const spec::Limits& limits);

class ClientRates {
 public:
  static constexpr std::size_t kClientsMax = 64 * 1024;
  enum class Scope : std::uint8_t { kProcess, kShared };
  struct Asked {
    std::string client;
    std::int64_t admitted = 0;  // may be none
  };

  // Takes a token of this client. Zero: it may pass; else how long until there is one.
  Duration take(std::string_view client, Rate rate, Mono now, Scope scope = Scope::kProcess);
  std::size_t clients();

  // Who asked with Scope::kShared since the last call.
  std::vector<Asked> gather();
  // `left` tokens (or a debt) of a shared client, as of `at`, when it was gathered: what was
  // admitted since is not in it. The bucket is lowered to that, never raised.
  void lower(std::string_view client, double left, Rate rate, Mono at);

 private:
  struct Bucket {
    double tokens;
    Mono at;
    std::int32_t admitted = 0;  // since the last gather, shared ones only
    bool gathers = false;       // in Shard::asked
  };
  using Buckets = std::unordered_map<std::string, Bucket>;
  struct Shard {
    Buckets buckets;
    std::vector<std::string> asked;
  };
  static constexpr std::size_t kShards = 16;
  static constexpr std::size_t kShardMax = kClientsMax / kShards;
  static void make_room(Buckets& buckets);
  static Bucket& refilled(Shard& shard, const std::string& client, Rate rate, Mono now);
  Guarded<Shard>& shard_of(std::string_view client);

  std::array<Guarded<Shard>, kShards> shards_;
};

class ClientConnections {
 public:
  // Counts one connection while it lives.
  class Lease {
   public:
    Lease() = default;
    Lease(ClientConnections& owner, const spec::IpBytes& client)
        : owner_(&owner), client_(client) {}
    Lease(Lease&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), client_(other.client_) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(owner_, other.owner_);
      std::swap(client_, other.client_);
      return *this;
    }
    ~Lease() {
      if (owner_ != nullptr) owner_->leave(client_);
    }
    explicit operator bool() const { return owner_ != nullptr; }

   private:
    ClientConnections* owner_ = nullptr;
    spec::IpBytes client_{};
  };

  // Empty when this client has `most` already. Addresses of one IPv6 /64 are one client.
  Lease enter(const spec::IpBytes& address, std::int64_t most);

 private:
  struct Hash {
    std::size_t operator()(const spec::IpBytes& address) const;
  };
  using Counts = std::unordered_map<spec::IpBytes, std::int64_t, Hash>;
  static constexpr std::size_t kShards = 16;
  void leave(const spec::IpBytes& client);

  std::array<Guarded<Counts>, kShards> shards_;
};

}  // namespace banyan::gateway
