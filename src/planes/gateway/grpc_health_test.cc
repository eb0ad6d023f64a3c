#include "planes/gateway/grpc_health.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

using std::string_literals::operator""s;

TEST(GrpcHealth, MessagesAreAsProtobufWritesThem) {
  EXPECT_EQ(health_request(""), "\0\0\0\0\0"s);
  EXPECT_EQ(health_request("web"), "\0\0\0\0\x05\x0a\x03web"s);
  EXPECT_EQ(health_answer(Serving::kServing), "\0\0\0\0\x02\x08\x01"s);
}

TEST(GrpcHealth, WhatIsWrittenIsRead) {
  EXPECT_EQ(asked_service(health_request("")), "");
  EXPECT_EQ(asked_service(health_request("a.b.C")), "a.b.C");
  for (const Serving status : {Serving::kServing, Serving::kNotServing, Serving::kServiceUnknown})
    EXPECT_EQ(told_status(health_answer(status)), status);
}

TEST(GrpcHealth, AbsentFieldsAreTheirDefaultsAndLaterOnesArePassedOver) {
  EXPECT_EQ(told_status("\0\0\0\0\0"s), Serving::kUnknown);
  EXPECT_EQ(told_status("\0\0\0\0\x06\x12\x02xy\x08\x01"s), Serving::kServing);
  EXPECT_EQ(told_status("\0\0\0\0\x02\x08\x63"s), Serving::kUnknown);
}

TEST(GrpcHealth, RefusesWhatIsNoWholeMessage) {
  for (const std::string& bytes :
       {""s, "\0\0\0\0"s, "\0\0\0\0\x03\x08\x01"s, "\x01\0\0\0\x02\x08\x01"s,
        "\0\0\0\0\x02\x08\x80"s, "\0\0\0\0\x02\x0b\x01"s, "\0\0\0\0\x03\x0a\x05x"s})
    EXPECT_EQ(told_status(bytes), std::nullopt) << testing::PrintToString(bytes);
}

}  // namespace
}  // namespace banyan::gateway
