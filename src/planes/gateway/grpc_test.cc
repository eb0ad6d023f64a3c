#include "planes/gateway/grpc.h"

#include <gtest/gtest.h>

#include <string>

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

TEST(Grpc, WebIsAnotherTransport) {
  for (const char* type : {"application/grpc", "application/grpc+proto", "application/grpc;x=y"})
    EXPECT_TRUE(is_grpc_type(type)) << type;
  for (const char* type :
       {"application/grpc-web", "application/grpc-web+proto", "application/json"})
    EXPECT_FALSE(is_grpc_type(type)) << type;
}

constexpr std::string_view kTwo("\0\0\0\0\3abc\0\0\0\0\0", 13);  // the second one is empty

TEST(GrpcMessages, AreCountedHoweverTheyAreCut) {
  for (std::size_t cut = 0; cut <= kTwo.size(); ++cut) {
    GrpcMessages messages;
    messages.take(kTwo.substr(0, cut));
    EXPECT_EQ(messages.at_boundary(), cut == 0 || cut == 8 || cut == 13) << cut;
    messages.take(kTwo.substr(cut));
    EXPECT_TRUE(messages.at_boundary());
    EXPECT_EQ(messages.count(), 2u);
  }
}

TEST(GrpcMessages, TheRestOfAMessageEndsWithIt) {
  GrpcMessages messages;
  EXPECT_EQ(messages.take_rest(kTwo), 0u);
  messages.take(kTwo.substr(0, 6));
  EXPECT_EQ(messages.take_rest(kTwo.substr(6)), 2u);
  EXPECT_TRUE(messages.at_boundary());
}

TEST(GrpcMessages, WholeOnesAreTakenTogether) {
  const std::string bytes = std::string(kTwo) + std::string(kTwo.substr(0, 7));
  GrpcMessages messages;
  EXPECT_EQ(messages.take_whole(bytes), kTwo.size());
  EXPECT_EQ(messages.count(), 2u);
  EXPECT_EQ(messages.take_whole(kTwo.substr(0, 7)), 0u);  // it would not end with a message
  messages.take(kTwo.substr(0, 6));
  EXPECT_EQ(messages.take_whole("x"), 1u);  // all of it belongs to the one under way
  EXPECT_FALSE(messages.at_boundary());
}

TEST(Grpc, AMissingRouteIsAMissingMethod) {
  EXPECT_EQ(grpc_status_of(404), 12);
  EXPECT_EQ(grpc_status_of(502), 14);
  EXPECT_EQ(grpc_status_of(418), 13);
}

}  // namespace
}  // namespace banyan::gateway
