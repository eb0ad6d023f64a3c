#include "planes/gateway/load_balancer.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace banyan::gateway {
namespace {

// How often each endpoint is picked in 4000 tries.
std::vector<int> picks(const std::vector<EndpointLoad>& endpoints, const BalanceRules& rules = {}) {
  http::IdSource ids(42);
  std::vector<int> out(endpoints.size());
  for (int i = 0; i < 4000; ++i) {
    const auto picked = pick_endpoint(endpoints, rules, ids);
    if (picked) ++out[*picked];
  }
  return out;
}

TEST(LoadBalancer, SpreadsEvenlyOverEqualEndpoints) {
  for (int n : picks({{}, {}, {}, {}})) EXPECT_NEAR(n, 1000, 120);
}

TEST(LoadBalancer, NeverPicksTheBusiestOfSeveral) {
  const auto n = picks({{.active = 9}, {.active = 1}, {.active = 2}});
  EXPECT_EQ(n[0], 0);
  EXPECT_GT(n[1], n[2]);
}

TEST(LoadBalancer, LeavesOutUnhealthyAndDrainingEndpoints) {
  const auto n = picks({{}, {.healthy = false}, {.draining = true}, {}});
  EXPECT_EQ(n[1], 0);
  EXPECT_EQ(n[2], 0);
}

TEST(LoadBalancer, PanicsWhenMostAreUnhealthy) {
  const std::vector<EndpointLoad> endpoints = {
      {.healthy = false}, {.healthy = false}, {}, {.draining = true}};
  EXPECT_TRUE(in_panic(endpoints, 50));
  const auto n = picks(endpoints);
  EXPECT_GT(n[0], 0);
  EXPECT_GT(n[1], 0);
  EXPECT_EQ(n[3], 0);
  EXPECT_EQ(picks(endpoints, {.panic_percent = 0})[2], 4000);
}

TEST(LoadBalancer, UsesTheOnlyEndpointThoughUnhealthy) {
  EXPECT_EQ(picks({{.healthy = false}})[0], 4000);
}

TEST(LoadBalancer, PrefersItsZoneWhileHalfOfItIsHealthy) {
  const auto n = picks({{.local = true}, {.healthy = false, .local = true}, {}, {}});
  EXPECT_EQ(n[0], 4000);
  const auto m = picks({{.healthy = false, .local = true}, {}, {}});
  EXPECT_EQ(m[0], 0);
}

TEST(LoadBalancer, SpillsOverWhenItsZoneIsMuchBusier) {
  EXPECT_EQ(picks({{.active = 4, .local = true}, {.active = 1}})[1], 0);
  EXPECT_GT(picks({{.active = 9, .local = true}, {.active = 1}})[1], 0);
}

TEST(LoadBalancer, BackupsServeOnlyWhenNobodyElseIsHealthy) {
  EXPECT_EQ(picks({{}, {.backup = true}})[1], 0);
  EXPECT_EQ(picks({{.healthy = false}, {.backup = true}})[1], 4000);
}

TEST(LoadBalancer, WeightsDecideBetweenEqualLoads) {
  const auto n = picks({{.weight = 3}, {.weight = 1}}, {.weighted = true});
  EXPECT_NEAR(n[0], 3000, 150);
}

TEST(LoadBalancer, WeightsHoldUnderLoad) {
  http::IdSource ids(9);
  std::vector<EndpointLoad> endpoints = {{.weight = 4}, {.weight = 2}, {.weight = 2}};
  std::vector<std::size_t> inside;  // each request stays while 40 others come
  std::vector<int> total(3);
  for (int i = 0; i < 20'000; ++i) {
    const std::size_t picked = *pick_endpoint(endpoints, {.weighted = true}, ids);
    ++endpoints[picked].active;
    ++total[picked];
    inside.push_back(picked);
    if (inside.size() <= 40) continue;
    --endpoints[inside.front()].active;
    inside.erase(inside.begin());
  }
  EXPECT_NEAR(total[0], 10'000, 600);
  EXPECT_NEAR(total[1], 5'000, 500);
}

TEST(LoadBalancer, CostsShiftRequestsToFastEndpoints) {
  const auto n = picks({{.cost = 0.010F}, {.cost = 0.100F}}, {.weighted = true});
  EXPECT_NEAR(n[0], 3000, 150);  // the slow one is taken only when it is drawn twice
}

std::vector<EndpointLoad> hashed(int count) {
  std::vector<EndpointLoad> out(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i)
    out[static_cast<std::size_t>(i)].identity = balance_key("10.0.0." + std::to_string(i));
  return out;
}

std::size_t for_key(const std::vector<EndpointLoad>& endpoints, int key) {
  http::IdSource ids(1);
  return *pick_endpoint(endpoints, {.key = balance_key(std::to_string(key))}, ids);
}

TEST(LoadBalancer, AKeyGoesToTheSameEndpointAndOnlyLostOnesMove) {
  auto endpoints = hashed(10);
  std::map<int, std::size_t> before;
  std::vector<int> count(10);
  for (int key = 0; key < 5000; ++key) ++count[before[key] = for_key(endpoints, key)];
  for (const int n : count) EXPECT_NEAR(n, 500, 120);
  endpoints[3].healthy = false;
  for (const auto& [key, endpoint] : before) {
    const std::size_t now = for_key(endpoints, key);
    if (endpoint == 3)
      EXPECT_NE(now, 3U);
    else
      EXPECT_EQ(now, endpoint);
  }
}

TEST(LoadBalancer, AHotKeySpillsOverItsBound) {
  http::IdSource ids(1);
  auto endpoints = hashed(4);
  const BalanceRules rules{.key = balance_key("hot"), .bound_percent = 125};
  for (int i = 0; i < 400; ++i) ++endpoints[*pick_endpoint(endpoints, rules, ids)].active;
  for (const EndpointLoad& endpoint : endpoints) EXPECT_LE(endpoint.active, 127);
}

TEST(LoadBalancer, TriesAnotherEndpointFirst) {
  EXPECT_EQ(picks({{.tried = true}, {}})[1], 4000);
  EXPECT_EQ(picks({{.tried = true}})[0], 4000);
}

TEST(LoadBalancer, PicksNothingFromNothing) {
  http::IdSource ids(1);
  EXPECT_EQ(pick_endpoint({}, {}, ids), std::nullopt);
  const std::vector<EndpointLoad> draining = {{.draining = true}};
  EXPECT_EQ(pick_endpoint(draining, {}, ids), std::nullopt);
}

}  // namespace
}  // namespace banyan::gateway
