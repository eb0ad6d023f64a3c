#include "planes/gateway/peak_ewma.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

const Mono kStart = Mono{} + 1h;

TEST(PeakEwma, RisesAtOnceAndFallsSlowly) {
  PeakEwma ewma(kStart);
  Mono now = kStart + 60s;
  ewma.observe(10ms, now);
  ewma.observe(500ms, now += 10ms);
  EXPECT_NEAR(ewma.cost(now), 0.5, 1e-6);
  ewma.observe(10ms, now += 1s);
  EXPECT_GT(ewma.cost(now), 0.4);
  for (int i = 0; i < 100; ++i) ewma.observe(10ms, now += 1s);
  EXPECT_NEAR(ewma.cost(now), 0.01, 0.002);
}

TEST(PeakEwma, AFailureCostsWhatItAsksFor) {
  PeakEwma ewma(kStart);
  ewma.observe_failure(1ms, 0s, kStart);
  EXPECT_NEAR(ewma.cost(kStart), 5, 1e-6);
  ewma.observe_failure(1ms, 1000s, kStart);
  EXPECT_NEAR(ewma.cost(kStart), 300, 1e-6);
}

TEST(PeakEwma, NeverCostsNothing) {
  EXPECT_GE(PeakEwma(kStart).cost(kStart + 10h), 0.001);
}

}  // namespace
}  // namespace banyan::gateway
