#include "planes/gateway/client_rates.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

const Mono kStart = Mono{} + 1h;

TEST(ClientRates, AllowsABurstAndThenTheRate) {
  ClientRates rates;
  const Rate rate{.per_second = 10, .burst = 5};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(rates.take("a", rate, kStart), 0s);
  const Duration wait = rates.take("a", rate, kStart);
  EXPECT_GT(wait, 90ms);
  EXPECT_LE(wait, 100ms);
  EXPECT_EQ(rates.take("b", rate, kStart), 0s) << "another client is not touched";
  int passed = 0;
  for (int ms = 1; ms <= 10'000; ++ms) passed += rates.take("a", rate, kStart + ms * 1ms) == 0s;
  EXPECT_NEAR(passed, 100, 1);
}

TEST(ClientRates, MemoryIsBoundedUnderAFloodOfClients) {
  ClientRates rates;
  for (std::size_t i = 0; i < 3 * ClientRates::kClientsMax; ++i)
    rates.take(std::to_string(i), {.per_second = 1, .burst = 1}, kStart);
  EXPECT_LE(rates.clients(), ClientRates::kClientsMax);
}

TEST(ClientConnections, AClientHasItsShareAndASlash64IsOneClient) {
  ClientConnections connections;
  const auto address = [](const char* text) { return *spec::parse_ip(text); };
  auto a = connections.enter(address("2001:db8::1"), 2);
  auto b = connections.enter(address("2001:db8::2"), 2);
  EXPECT_TRUE(a && b);
  EXPECT_FALSE(connections.enter(address("2001:db8::3"), 2));
  EXPECT_TRUE(connections.enter(address("192.0.2.1"), 2));
  {
    const auto gone = std::move(a);
  }
  EXPECT_TRUE(connections.enter(address("2001:db8::3"), 2));
}

}  // namespace
}  // namespace banyan::gateway
