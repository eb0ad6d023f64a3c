#include "planes/gateway/pool.h"

#include <gtest/gtest.h>

#include "planes/gateway/http1_upstream.h"

namespace banyan::gateway {
namespace {

class EndpointTest : public testing::Test {
 public:
  EndpointPlan plan() const {
    EndpointPlan made;
    made.address = "127.0.0.1:9";
    return made;
  }
  void fail(int times) {
    for (int i = 0; i < times; ++i) endpoint_.note_failure(true);
  }

  std::unique_ptr<io::Loop> loop_ = *io::Loop::create();
  h2::WindowBudget windows_{0};
  Endpoint endpoint_{*loop_, "web", plan(), windows_};
};

TEST_F(EndpointTest, IsPassedOverAfterFailuresInARow) {
  fail(2);
  EXPECT_TRUE(endpoint_.is_usable());
  fail(1);
  EXPECT_FALSE(endpoint_.is_usable());
}

TEST_F(EndpointTest, AnAnswerMakesItTrustedAgain) {
  fail(2);
  endpoint_.note_answer({.status = 200}, true);
  fail(2);
  EXPECT_TRUE(endpoint_.is_usable());
}

TEST_F(EndpointTest, StartsWithATenthOfItsShare) {
  EXPECT_FLOAT_EQ(endpoint_.weight(10s, loop_->now()), 1);
  endpoint_.start_slowly();
  EXPECT_FLOAT_EQ(endpoint_.weight(10s, loop_->now()), 0.1F);
  EXPECT_FLOAT_EQ(endpoint_.weight(10s, loop_->now() + 5s), 0.5F);
  EXPECT_FLOAT_EQ(endpoint_.weight(10s, loop_->now() + 11s), 1);
}

TEST_F(EndpointTest, CountsTheRequestsInsideIt) {
  {
    const EndpointUse use(endpoint_);
    EXPECT_EQ(endpoint_.load.active, 1);
  }
  EXPECT_EQ(endpoint_.load.active, 0);
}

TEST_F(EndpointTest, ARetiredEndpointKeepsNoConnection) {
  endpoint_.retired = true;
  endpoint_.give_back(std::make_unique<Http1Upstream>(*loop_, endpoint_));
  EXPECT_EQ(endpoint_.take_idle(), nullptr);
}

}  // namespace
}  // namespace banyan::gateway
