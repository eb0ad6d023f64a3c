#include "planes/gateway/gateway_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

using testing::HasSubstr;

TEST(DurationHistogram, QuantilesAreWithinABucket) {
  DurationHistogram histogram;
  for (int i = 1; i <= 10'000; ++i) histogram.record(std::chrono::microseconds(i));
  for (double q : {0.01, 0.5, 0.9, 0.99}) {
    const double us = std::chrono::duration<double, std::micro>(histogram.quantile(q)).count();
    EXPECT_NEAR(us, q * 10'000, q * 10'000 * 0.13) << q;
  }
  EXPECT_EQ(histogram.count(), 10'000U);
}

TEST(DurationHistogram, TakesExtremes) {
  DurationHistogram histogram;
  histogram.record(Duration(-5));
  histogram.record(Duration(0));
  histogram.record(100h);
  EXPECT_EQ(histogram.count(), 3U);
  EXPECT_EQ(histogram.count_up_to(1ms), 2U);
}

TEST(DurationHistogram, MergesLikeOneRecorder) {
  DurationHistogram a;
  DurationHistogram b;
  a.record(3ms);
  b.record(30ms);
  a.merge(b);
  EXPECT_EQ(a.count(), 2U);
  EXPECT_EQ(a.count_up_to(10ms), 1U);
}

TEST(GatewayMetrics, MergesWorkersAndWritesText) {
  GatewayMetrics a;
  a.count_request("r1", 200, 3ms);
  a.count_own_reply(502);
  GatewayMetrics b;
  b.count_request("r1", 200, 3ms);
  b.count_request("r\"2", 503, 3ms);
  b.count_refused("bare lf");
  a.merge(b);
  EXPECT_EQ(a.requests_total(), 3U);
  EXPECT_EQ(a.failures_total(), 1U);
  const std::string text = prometheus_text(a, {}, {{.backend = "web", .address = "127.0.0.1:1"}});
  EXPECT_THAT(text, HasSubstr("banyan_gateway_requests_total{route=\"r1\",code=\"2xx\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("route=\"r\\\"2\""));
  EXPECT_THAT(text,
              HasSubstr("banyan_gateway_request_seconds_bucket{route=\"r1\",le=\"0.005\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("banyan_gateway_malformed_total{reason=\"bare lf\"} 1\n"));
  EXPECT_THAT(
      text,
      HasSubstr("banyan_gateway_endpoint_healthy{backend=\"web\",address=\"127.0.0.1:1\"} 1\n"));
}

}  // namespace
}  // namespace banyan::gateway
