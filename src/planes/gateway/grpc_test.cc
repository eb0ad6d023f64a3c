#include "planes/gateway/grpc.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

TEST(Grpc, TimeoutsHaveAUnit) {
  EXPECT_EQ(grpc_timeout("200m"), Duration(200ms));
  EXPECT_EQ(grpc_timeout("5S"), Duration(5s));
  EXPECT_EQ(grpc_timeout("99999999n"), std::chrono::nanoseconds(99'999'999));
  for (const char* bad : {"", "5", "S", "5x", "-1S", "-0S", "123456789S", "1.5S", " 1S"})
    EXPECT_FALSE(grpc_timeout(bad)) << bad;
}

TEST(Grpc, MessagesAreEncoded) {
  EXPECT_EQ(grpc_message("100% \n"), "100%25 %0A");
}

TEST(Grpc, AMissingRouteIsAMissingMethod) {
  EXPECT_EQ(grpc_status_of(404), 12);
  EXPECT_EQ(grpc_status_of(502), 14);
  EXPECT_EQ(grpc_status_of(418), 13);
}

}  // namespace
}  // namespace banyan::gateway
