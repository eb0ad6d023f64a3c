#include "planes/gateway/load_balancer.h"

namespace banyan::gateway {
namespace {

// The ways of looking at the endpoints, best first.
enum class Pool : std::uint8_t { kLocal, kHealthy, kTried, kPanic };

bool belongs(const EndpointLoad& endpoint, Pool pool) {
  if (endpoint.draining) return false;
  switch (pool) {
    case Pool::kLocal:
      return endpoint.healthy && !endpoint.tried && endpoint.local;
    case Pool::kHealthy:
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

// At least half of the preferred zone is healthy.
bool prefers_local(std::span<const EndpointLoad> endpoints) {
  std::size_t local = 0;
  for (const EndpointLoad& endpoint : endpoints) local += endpoint.local && !endpoint.draining;
  const std::size_t usable = count(endpoints, Pool::kLocal);
  return usable > 0 && static_cast<double>(usable) >= kPanicBelow * static_cast<double>(local);
}

}  // namespace

bool in_panic(std::span<const EndpointLoad> endpoints) {
  const std::size_t all = count(endpoints, Pool::kPanic);
  const std::size_t healthy = count(endpoints, Pool::kTried);
  return all > 0 && static_cast<double>(healthy) < kPanicBelow * static_cast<double>(all);
}

std::optional<std::size_t> pick_endpoint(std::span<const EndpointLoad> endpoints,
                                         http::IdSource& ids) {
  if (count(endpoints, Pool::kPanic) == 0) return std::nullopt;
  if (in_panic(endpoints)) return pick_of_two(endpoints, Pool::kPanic, ids);
  if (prefers_local(endpoints)) return pick_of_two(endpoints, Pool::kLocal, ids);
  const Pool pool = count(endpoints, Pool::kHealthy) > 0 ? Pool::kHealthy : Pool::kTried;
  return pick_of_two(endpoints, pool, ids);
}

}  // namespace banyan::gateway
