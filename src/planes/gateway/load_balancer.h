#pragma once
// Picks an endpoint: of two random healthy ones the less busy (power of two choices), those of the
// preferred zone first. Pure: state lives with the caller, chance comes from the IdSource.
//
// Panic: when fewer than half of the endpoints are healthy, health is no longer believed and all
// that are not draining are used. A zone is preferred only while at least half of it is healthy.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "wire/http/head_writer.h"

namespace banyan::gateway {

// One endpoint as the balancer sees it; kept in one contiguous array per backend and worker.
struct EndpointLoad {
  std::int32_t active = 0;  // requests now inside
  bool healthy = true;
  bool draining = false;  // gets nothing new, even in panic
  bool tried = false;     // this request failed there already: last resort
  bool local = false;     // in the preferred zone
};

inline constexpr double kPanicBelow = 0.5;

// The index of the endpoint to use; nothing when all are draining or there are none.
std::optional<std::size_t> pick_endpoint(std::span<const EndpointLoad> endpoints,
                                         http::IdSource& ids);
// True when pick_endpoint ignores health; shown in metrics.
bool in_panic(std::span<const EndpointLoad> endpoints);

}  // namespace banyan::gateway
