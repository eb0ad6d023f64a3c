#include "planes/gateway/client_rates.h"

#include <algorithm>
#include <functional>

namespace banyan::gateway {
namespace {

constexpr std::size_t kLooksForRoom = 8;

}  // namespace

Rate client_rate(const spec::Limits& limits) {
  const std::int64_t burst =
      limits.client_burst > 0 ? limits.client_burst : limits.client_requests_per_s;
  return {.per_second = static_cast<double>(limits.client_requests_per_s),
          .burst = static_cast<double>(burst)};
}

// Of a few neighbours the one that is forgotten had the most tokens: it loses least.
void ClientRates::make_room(Buckets& buckets) {
  auto fullest = buckets.begin();
  auto at = buckets.begin();
  for (std::size_t i = 0; i < kLooksForRoom && at != buckets.end(); ++i, ++at)
    if (at->second.tokens > fullest->second.tokens) fullest = at;
  buckets.erase(fullest);
}

Guarded<ClientRates::Shard>& ClientRates::shard_of(std::string_view client) {
  return shards_[std::hash<std::string_view>{}(client) % kShards];
}

ClientRates::Bucket& ClientRates::refilled(Shard& shard, const std::string& client, Rate rate,
                                           Mono now) {
  Buckets& buckets = shard.buckets;
  if (buckets.size() >= kShardMax && !buckets.contains(client)) make_room(buckets);
  Bucket& bucket = buckets.try_emplace(client, Bucket{rate.burst, now}).first->second;
  const double elapsed = std::max(0.0, std::chrono::duration<double>(now - bucket.at).count());
  bucket.tokens = std::min(rate.burst, bucket.tokens + elapsed * rate.per_second);
  bucket.at = std::max(bucket.at, now);
  return bucket;
}

Duration ClientRates::take(std::string_view client, Rate rate, Mono now, Scope scope) {
  return shard_of(client).with([&](Shard& shard) {
    const std::string key(client);
    Bucket& bucket = refilled(shard, key, rate, now);
    const bool passes = bucket.tokens >= 1;
    if (passes) bucket.tokens -= 1;
    if (scope == Scope::kShared) {
      bucket.admitted += passes ? 1 : 0;
      if (!bucket.gathers && shard.asked.size() < kShardMax) {
        shard.asked.push_back(key);
        bucket.gathers = true;
      }
    }
    if (passes) return Duration::zero();
    const double wait = (1 - bucket.tokens) / rate.per_second;
    return std::max<Duration>(
        1ms, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(wait)));
  });
}

std::size_t ClientRates::clients() {
  std::size_t n = 0;
  for (auto& shard : shards_) n += shard.with([](const Shard& one) { return one.buckets.size(); });
  return n;
}

std::vector<ClientRates::Asked> ClientRates::gather() {
  std::vector<Asked> out;
  for (auto& guarded : shards_) {
    guarded.with([&](Shard& shard) {
      for (std::string& client : std::exchange(shard.asked, {})) {
        const auto found = shard.buckets.find(client);
        if (found == shard.buckets.end()) continue;  // forgotten meanwhile
        found->second.gathers = false;
        out.push_back({std::move(client), std::exchange(found->second.admitted, 0)});
      }
    });
  }
  return out;
}

void ClientRates::lower(std::string_view client, double left, Rate rate, Mono at) {
  shard_of(client).with([&](Shard& shard) {
    const auto found = shard.buckets.find(std::string(client));
    if (found == shard.buckets.end()) return;
    Bucket& bucket = found->second;
    const double since = std::chrono::duration<double>(bucket.at - at).count();
    bucket.tokens = std::min(bucket.tokens, left - bucket.admitted + since * rate.per_second);
  });
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
