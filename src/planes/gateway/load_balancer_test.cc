#include "planes/gateway/load_balancer.h"

#include <gtest/gtest.h>

#include <vector>

namespace banyan::gateway {
namespace {

// How often each endpoint is picked in 4000 tries.
std::vector<int> picks(const std::vector<EndpointLoad>& endpoints) {
  http::IdSource ids(42);
  std::vector<int> out(endpoints.size());
  for (int i = 0; i < 4000; ++i) {
    const auto picked = pick_endpoint(endpoints, ids);
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
  EXPECT_TRUE(in_panic(endpoints));
  const auto n = picks(endpoints);
  EXPECT_GT(n[0], 0);
  EXPECT_GT(n[1], 0);
  EXPECT_EQ(n[3], 0);
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

TEST(LoadBalancer, TriesAnotherEndpointFirst) {
  EXPECT_EQ(picks({{.tried = true}, {}})[1], 4000);
  EXPECT_EQ(picks({{.tried = true}})[0], 4000);
}

TEST(LoadBalancer, PicksNothingFromNothing) {
  http::IdSource ids(1);
  EXPECT_EQ(pick_endpoint({}, ids), std::nullopt);
  const std::vector<EndpointLoad> draining = {{.draining = true}};
  EXPECT_EQ(pick_endpoint(draining, ids), std::nullopt);
}

}  // namespace
}  // namespace banyan::gateway
