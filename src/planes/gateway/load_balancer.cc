#include "planes/gateway/load_balancer.h"

#include <cmath>

namespace banyan::gateway {
namespace {

// The ways of looking at the endpoints, best first.
enum class Pool : std::uint8_t { kLocal, kHealthy, kBackup, kTried, kPanic };

// A zone is left when it is this much busier than the others.
constexpr double kSpillFactor = 2;
constexpr double kSpillSlack = 2;  // requests
constexpr double kZoneHealthy = 0.5;

bool belongs(const EndpointLoad& endpoint, Pool pool) {
  if (endpoint.draining) return false;
  switch (pool) {
    case Pool::kLocal:
      return endpoint.healthy && !endpoint.tried && !endpoint.backup && endpoint.local;
    case Pool::kHealthy:
      return endpoint.healthy && !endpoint.tried && !endpoint.backup;
    case Pool::kBackup:
      return endpoint.healthy && !endpoint.tried;
    case Pool::kTried:
      return endpoint.healthy;
    case Pool::kPanic:
      return true;
  }
  return false;
}

std::size_t count(std::span<const EndpointLoad> endpoints, Pool pool) {
  std::size_t n = 0;
  for (const EndpointLoad& endpoint : endpoints) n += belongs(endpoint, pool) ? 1 : 0;
  return n;
}

std::size_t nth(std::span<const EndpointLoad> endpoints, Pool pool, std::size_t n) {
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (belongs(endpoints[i], pool) && n-- == 0) return i;
  }
  return endpoints.size() - 1;
}

std::size_t pick_of_two(std::span<const EndpointLoad> endpoints, Pool pool, http::IdSource& ids) {
  const std::size_t size = count(endpoints, pool);
  if (size == 1) return nth(endpoints, pool, 0);
  const std::uint64_t chance = ids.next();
  const std::size_t a = static_cast<std::size_t>((chance >> 32) % size);
  const std::size_t b =
      (a + 1 + static_cast<std::size_t>((chance & 0xffffffff) % (size - 1))) % size;
  const std::size_t first = nth(endpoints, pool, a);
  const std::size_t second = nth(endpoints, pool, b);
  return endpoints[second].active < endpoints[first].active ? second : first;
}

double burden(const EndpointLoad& endpoint) {
  // With equal costs idle endpoints are equal, so that weights alone decide between them.
  const double requests = endpoint.cost == 1 ? endpoint.active : endpoint.active + 1;
  return requests * endpoint.cost / endpoint.weight;
}

std::size_t pick_by_weight(std::span<const EndpointLoad> endpoints, Pool pool,
                           http::IdSource& ids) {
  double total = 0;
  for (const EndpointLoad& endpoint : endpoints)
    if (belongs(endpoint, pool)) total += endpoint.weight;
  double at = static_cast<double>(ids.next() >> 11) / static_cast<double>(1ULL << 53) * total;
  std::size_t last = 0;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (!belongs(endpoints[i], pool)) continue;
    last = i;
    at -= endpoints[i].weight;
    if (at < 0) break;
  }
  return last;
}

std::size_t pick_weighted(std::span<const EndpointLoad> endpoints, Pool pool, http::IdSource& ids) {
  const std::size_t first = pick_by_weight(endpoints, pool, ids);
  const std::size_t second = pick_by_weight(endpoints, pool, ids);
  return burden(endpoints[second]) < burden(endpoints[first]) ? second : first;
}

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Rendezvous: every endpoint draws a number for the key, the best draw wins. When an endpoint goes
// only its keys move. One with more than its bounded share of the load is passed over.
std::size_t pick_by_key(std::span<const EndpointLoad> endpoints, Pool pool,
                        const BalanceRules& rules) {
  double active = 1;
  double weight = 0;
  for (const EndpointLoad& endpoint : endpoints) {
    if (!belongs(endpoint, pool)) continue;
    active += endpoint.active;
    weight += endpoint.weight;
  }
  std::size_t best = endpoints.size();
  double best_draw = -1;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (!belongs(endpoints[i], pool)) continue;
    const double share = active * endpoints[i].weight / weight * rules.bound_percent / 100;
    if (endpoints[i].active + 1 > std::ceil(share)) continue;
    const std::uint64_t hash = mix(rules.key ^ mix(endpoints[i].identity));
    const double uniform =
        (static_cast<double>(hash >> 11) + 0.5) / static_cast<double>(1ULL << 53);
    const double draw = -endpoints[i].weight / std::log(uniform);
    if (draw > best_draw) {
      best_draw = draw;
      best = i;
    }
  }
  return best;  // one is always below the mean
}

// The zone is half healthy at least, and not clearly busier than the others.
bool prefers_local(std::span<const EndpointLoad> endpoints) {
  double local = 0;
  double usable = 0;
  double others = 0;
  double local_active = 0;
  double others_active = 0;
  for (const EndpointLoad& endpoint : endpoints) {
    local += endpoint.local && !endpoint.draining && !endpoint.backup ? 1 : 0;
    if (belongs(endpoint, Pool::kLocal)) {
      usable += 1;
      local_active += endpoint.active;
    } else if (belongs(endpoint, Pool::kHealthy)) {
      others += 1;
      others_active += endpoint.active;
    }
  }
  if (usable == 0 || usable < kZoneHealthy * local) return false;
  if (others == 0) return true;
  return local_active / usable <= kSpillFactor * others_active / others + kSpillSlack;
}

Pool best_pool(std::span<const EndpointLoad> endpoints, int panic_percent) {
  if (in_panic(endpoints, panic_percent)) return Pool::kPanic;
  if (prefers_local(endpoints)) return Pool::kLocal;
  for (const Pool pool : {Pool::kHealthy, Pool::kBackup, Pool::kTried})
    if (count(endpoints, pool) > 0) return pool;
  return Pool::kPanic;
}

}  // namespace

bool in_panic(std::span<const EndpointLoad> endpoints, int panic_percent) {
  const std::size_t all = count(endpoints, Pool::kPanic);
  const std::size_t healthy = count(endpoints, Pool::kTried);
  return all > 0 && healthy * 100 < all * static_cast<std::size_t>(panic_percent);
}

std::optional<std::size_t> pick_endpoint(std::span<const EndpointLoad> endpoints,
                                         const BalanceRules& rules, http::IdSource& ids) {
  if (count(endpoints, Pool::kPanic) == 0) return std::nullopt;
  const Pool pool = best_pool(endpoints, rules.panic_percent);
  if (count(endpoints, pool) == 0) return std::nullopt;
  if (rules.key != 0) {
    const std::size_t found = pick_by_key(endpoints, pool, rules);
    if (found < endpoints.size()) return found;
  }
  return rules.weighted ? pick_weighted(endpoints, pool, ids) : pick_of_two(endpoints, pool, ids);
}

std::uint64_t balance_key(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211ULL;
  }
  return mix(hash) | 1;
}

}  // namespace banyan::gateway
