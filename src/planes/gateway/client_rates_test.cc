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

constexpr auto kShared = ClientRates::Scope::kShared;
constexpr Rate kTen{.per_second = 10, .burst = 10};

TEST(ClientRates, OnlySharedClientsAreGatheredAndEachAdmissionOnce) {
  ClientRates rates;
  rates.take("local", kTen, kStart);
  for (int i = 0; i < 12; ++i) rates.take("shared", kTen, kStart, kShared);
  const auto first = rates.gather();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].client, "shared");
  EXPECT_EQ(first[0].admitted, 10) << "who is refused costs nothing";
  EXPECT_TRUE(rates.gather().empty());
  rates.take("shared", kTen, kStart, kShared);
  const auto second = rates.gather();
  ASSERT_EQ(second.size(), 1U) << "who only asks is told of";
  EXPECT_EQ(second[0].admitted, 0);
}

TEST(ClientRates, ABucketIsLoweredAndNeverRaised) {
  ClientRates rates;
  rates.take("a", kTen, kStart, kShared);  // nine are left
  rates.lower("a", 100, kTen, kStart);
  rates.lower("nobody", 0, kTen, kStart);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(rates.take("a", kTen, kStart, kShared), 0s);
  EXPECT_GT(rates.take("a", kTen, kStart, kShared), 0s);
  rates.lower("a", -5, kTen, kStart);
  rates.gather();
  EXPECT_GT(rates.take("a", kTen, kStart + 400ms, kShared), 0s) << "a debt is paid first";
}

TEST(ClientRates, WhatWasAdmittedSinceTheGatheringIsNotForgotten) {
  ClientRates rates;
  rates.take("a", kTen, kStart, kShared);
  rates.gather();
  for (int i = 0; i < 3; ++i) rates.take("a", kTen, kStart + 100ms, kShared);
  rates.lower("a", 4, kTen, kStart);  // 4 then, 1 came in 100 ms, 3 went
  int passed = 0;
  for (int i = 0; i < 10; ++i) passed += rates.take("a", kTen, kStart + 100ms, kShared) == 0s;
  EXPECT_EQ(passed, 2);
}

TEST(ClientRates, WhoAskedIsBoundedWhileNobodyGathers) {
  ClientRates rates;
  for (std::size_t i = 0; i < 3 * ClientRates::kClientsMax; ++i)
    rates.take(std::to_string(i), kTen, kStart, kShared);
  EXPECT_LE(rates.gather().size(), ClientRates::kClientsMax);
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
