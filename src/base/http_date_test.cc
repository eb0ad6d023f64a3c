#include "base/http_date.h"

#include <gtest/gtest.h>

namespace banyan {
namespace {

TEST(HttpDate, IsAsTheRfcHasIt) {
  const auto at = [](std::time_t seconds) {
    return http_date(std::chrono::system_clock::from_time_t(seconds));
  };
  EXPECT_EQ(at(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(at(1709164800), "Thu, 29 Feb 2024 00:00:00 GMT");
}

}  // namespace
}  // namespace banyan
