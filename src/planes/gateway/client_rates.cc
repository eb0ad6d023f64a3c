#include "planes/gateway/client_rates.h"

#include <algorithm>
#include <functional>

namespace banyan::gateway {
namespace {

constexpr std::size_t kLooksForRoom = 8;

}  // namespace

// Of a few neighbours the one that is forgotten had the most tokens: it loses least.
void ClientRates::make_room(Buckets& buckets) {
  auto fullest = buckets.begin();
  auto at = buckets.begin();
  for (std::size_t i = 0; i < kLooksForRoom && at != buckets.end(); ++i, ++at)
    if (at->second.tokens > fullest->second.tokens) fullest = at;
  buckets.erase(fullest);
}

Duration ClientRates::take(std::string_view client, Rate rate, Mono now) {
  const std::size_t shard = std::hash<std::string_view>{}(client) % kShards;
  return shards_[shard].with([&](Buckets& buckets) {
    if (buckets.size() >= kClientsMax / kShards && !buckets.contains(std::string(client)))
      make_room(buckets);
    Bucket& bucket =
        buckets.try_emplace(std::string(client), Bucket{rate.burst, now}).first->second;
    const double elapsed = std::max(0.0, std::chrono::duration<double>(now - bucket.at).count());
    bucket.tokens = std::min(rate.burst, bucket.tokens + elapsed * rate.per_second);
    bucket.at = std::max(bucket.at, now);
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return Duration::zero();
    }
    const double wait = (1 - bucket.tokens) / rate.per_second;
    return std::max<Duration>(
        1ms, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(wait)));
  });
}

std::size_t ClientRates::clients() {
  std::size_t n = 0;
  for (auto& shard : shards_)
    n += shard.with([](const Buckets& buckets) { return buckets.size(); });
  return n;
}

std::size_t ClientConnections::Hash::operator()(const spec::IpBytes& address) const {
  return std::hash<std::string_view>{}(
      {reinterpret_cast<const char*>(address.data()), address.size()});
}

ClientConnections::Lease ClientConnections::enter(const spec::IpBytes& address, std::int64_t most) {
  const spec::IpBytes client = spec::client_block(address);
  const bool fits = shards_[Hash{}(client) % kShards].with([&](Counts& counts) {
    std::int64_t& count = counts[client];
    return count < most && ++count > 0;
  });
  return fits ? Lease(*this, client) : Lease();
}

void ClientConnections::leave(const spec::IpBytes& client) {
  shards_[Hash{}(client) % kShards].with([&](Counts& counts) {
    const auto found = counts.find(client);
    if (found != counts.end() && --found->second <= 0) counts.erase(found);
  });
}

}  // namespace banyan::gateway
