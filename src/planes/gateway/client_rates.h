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

#include "base/clock.h"
#include "base/guarded.h"
#include "spec/cidr.h"

namespace banyan::gateway {

struct Rate {
  double per_second = 0;
  double burst = 1;  // at least 1
};

class ClientRates {
 public:
  static constexpr std::size_t kClientsMax = 64 * 1024;

  // Takes a token of this client. Zero: it may pass; else how long until there is one.
  Duration take(std::string_view client, Rate rate, Mono now);
  std::size_t clients();

 private:
  struct Bucket {
    double tokens;
    Mono at;
  };
  using Buckets = std::unordered_map<std::string, Bucket>;
  static constexpr std::size_t kShards = 16;
  static void make_room(Buckets& buckets);

  std::array<Guarded<Buckets>, kShards> shards_;
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
