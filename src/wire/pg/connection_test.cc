#include "wire/pg/connection.h"

#include <gtest/gtest.h>

namespace banyan::pg {
namespace {

TEST(Quote, KeepsNamesAndTextWhatTheyAre) {
  EXPECT_EQ(quote_ident("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(quote_literal("it's"), "'it''s'");
  EXPECT_EQ(quote_literal("a\\b"), " E'a\\\\b'");
  EXPECT_EQ(quote_qualified("public", "Order"), "\"public\".\"Order\"");
}

TEST(Connection, AnAddressNobodyListensAtIsUnavailable) {
  const auto connection = Connection::open("host=/nonexistent-socket-directory dbname=x");
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code(), Code::kUnavailable);
}

TEST(Connection, AnUnreadableAddressIsInvalid) {
  const auto connection = Connection::open("nonsense=1");
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code(), Code::kInvalidArgument);
}

TEST(Connection, MessagesNeverShowThePassword) {
  EXPECT_EQ(without_password("postgresql://u:secret@h:5/d").find("secret"), std::string::npos);
}

TEST(Connection, AnotherProgramGetsThePasswordByItself) {
  for (const auto* form : {"postgresql://u:a%40b%27c@h:5/d?sslmode=require",
                           "host=h port=5 user=u dbname=d password='a@b\\'c' sslmode=require"}) {
    const auto address = tool_address(form);
    ASSERT_TRUE(address);
    EXPECT_EQ(address->password, "a@b'c");
    EXPECT_EQ(address->conninfo.find("a@b"), std::string::npos);
    const auto again = tool_address(address->conninfo);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(again->conninfo, address->conninfo);
  }
}

TEST(Connection, WhatIsWrongIsToldWithoutPiecesOfThePassword) {
  for (const auto* form :
       {"postgresql://u:hush%zz@h/d", "password=open hush", "postgresql//u:hush"}) {
    const auto address = tool_address(form);
    ASSERT_FALSE(address) << form;
    EXPECT_EQ(address.error().message().find("hush"), std::string::npos)
        << address.error().message();
    EXPECT_FALSE(address.error().remedy().empty());
  }
}

TEST(Connection, ASessionThatDoesNotBeginNamesTheWaysOut) {
  const auto connection = Connection::open("host=127.0.0.1 port=1 user=u password=hush dbname=d");
  ASSERT_FALSE(connection);
  EXPECT_NE(connection.error().remedy().find("2. psql 'host=127.0.0.1 port=1 user=u dbname=d'"),
            std::string::npos)
      << connection.error().remedy();
}

TEST(Connection, AServiceThatNobodyDefinedIsInvalid) {
  const auto connection = Connection::open("postgresql:///?service=nobody");
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code(), Code::kInvalidArgument);
  EXPECT_NE(connection.error().remedy().find("1. Write the service into"), std::string::npos)
      << connection.error().remedy();
}

TEST(Sqlstate, SaysWhatTheCallerCanDo) {
  EXPECT_EQ(code_from_sqlstate("55P03"), Code::kTimeout);
  EXPECT_EQ(code_from_sqlstate("57P01"), Code::kUnavailable);
  EXPECT_EQ(code_from_sqlstate("23505"), Code::kConflict);
  EXPECT_EQ(code_from_sqlstate("42501"), Code::kPermission);
}

}  // namespace
}  // namespace banyan::pg
