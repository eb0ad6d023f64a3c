#pragma once
// Picks an endpoint: of two random ones the less busy (power of two choices), those of the
// preferred zone first; or the one a key always goes to. Pure: state lives with the caller, chance
// comes from the IdSource.
//
// Who may be picked, best first: healthy ones of the zone (while at least half of it is healthy and
// it is not clearly busier than the others, else requests spill over), all healthy ones, backups,
// those this request failed at, and in panic everybody that is not draining.
// Panic: when fewer than a share of the endpoints are healthy, health is no longer believed.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "wire/http/head_writer.h"

namespace banyan::gateway {

// One endpoint as the balancer sees it; kept in one contiguous array per backend and worker.
struct EndpointLoad {
  std::int32_t active = 0;  // requests now inside
  bool healthy = true;
  bool draining = false;       // gets nothing new, even in panic
  bool tried = false;          // this request failed there already: last resort
  bool local = false;          // in the preferred zone
  bool backup = false;         // only when no other is healthy
  float weight = 1;            // share among the others; small while it starts slowly
  float cost = 1;              // of one request there; 1 unless response times are looked at
  std::uint64_t identity = 0;  // the same in every process: balance_key of the address
};

struct BalanceRules {
  int panic_percent = 50;  // 0: never
  bool weighted = false;   // weights or costs differ
  std::uint64_t key = 0;   // 0: by load; else the hash of what decides
  int bound_percent = 125;
};

// The index of the endpoint to use; nothing when all are draining or there are none.
std::optional<std::size_t> pick_endpoint(std::span<const EndpointLoad> endpoints,
                                         const BalanceRules& rules, http::IdSource& ids);
// True when pick_endpoint ignores health; shown in metrics.
bool in_panic(std::span<const EndpointLoad> endpoints, int panic_percent);

// Hash of a key for BalanceRules::key; never 0.
std::uint64_t balance_key(std::string_view text);

}  // namespace banyan::gateway
