#include "planes/gateway/ejection.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

const Mono kStart = Mono{} + 1h;

spec::Eject rules() {
  return {.failures = 3,
          .errors = 2,
          .base = spec::Millis(1000),
          .cap = spec::Millis(3000),
          .max_percent = 50};
}

void fail(Ejection& ejection, Mono now, int times, bool may = true) {
  for (int i = 0; i < times; ++i) ejection.note_failure(now, may);
}

TEST(Ejection, FailuresInARowPassAnEndpointOver) {
  Ejection ejection(rules());
  fail(ejection, kStart, 2);
  ejection.note_answer(200, kStart, true);
  fail(ejection, kStart, 2);
  EXPECT_TRUE(ejection.may_take(kStart, 0));
  fail(ejection, kStart, 1);
  EXPECT_FALSE(ejection.may_take(kStart, 0));
}

TEST(Ejection, ErrorsInARowDoAsWellUnlessNotLookedAt) {
  Ejection ejection(rules());
  ejection.note_answer(500, kStart, true);
  ejection.note_answer(404, kStart, true);
  ejection.note_answer(503, kStart, true);
  EXPECT_TRUE(ejection.may_take(kStart, 0));
  ejection.note_answer(500, kStart, true);
  EXPECT_FALSE(ejection.may_take(kStart, 0));
  spec::Eject none = rules();
  none.errors = 0;
  Ejection blind(none);
  for (int i = 0; i < 9; ++i) blind.note_answer(500, kStart, true);
  EXPECT_TRUE(blind.may_take(kStart, 0));
}

TEST(Ejection, ProbationIsOneRequestAtATime) {
  Ejection ejection(rules());
  fail(ejection, kStart, 3);
  const Mono later = kStart + 1s;
  EXPECT_TRUE(ejection.may_take(later, 0));
  EXPECT_FALSE(ejection.may_take(later, 1));
  ejection.note_answer(200, later, true);
  EXPECT_TRUE(ejection.may_take(later, 9));
}

TEST(Ejection, EachTimeInARowIsTwiceAsLongUpToTheCap) {
  Ejection ejection(rules());
  fail(ejection, kStart, 3);
  Mono now = kStart + 1s;
  fail(ejection, now, 1);  // on probation one is enough
  EXPECT_TRUE(ejection.is_out(now + 1999ms));
  EXPECT_FALSE(ejection.is_out(now + 2s));
  now += 2s;
  fail(ejection, now, 1);
  EXPECT_TRUE(ejection.is_out(now + 2999ms));
  EXPECT_FALSE(ejection.is_out(now + 3s));
}

TEST(Ejection, WithoutLeaveNobodyIsEjected) {
  Ejection ejection(rules());
  fail(ejection, kStart, 9, false);
  EXPECT_TRUE(ejection.may_take(kStart, 5));
}

TEST(Ejection, OneOfTwoMayAlwaysBeOut) {
  EXPECT_EQ(ejections_max({.max_percent = 10}, 2), 1);
  EXPECT_EQ(ejections_max({.max_percent = 10}, 1), 0);
  EXPECT_EQ(ejections_max({.max_percent = 10}, 30), 3);
  EXPECT_EQ(ejections_max({.max_percent = 0}, 30), 0);
}

}  // namespace
}  // namespace banyan::gateway
