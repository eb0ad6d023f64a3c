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

TEST(Sqlstate, SaysWhatTheCallerCanDo) {
  EXPECT_EQ(code_from_sqlstate("55P03"), Code::kTimeout);
  EXPECT_EQ(code_from_sqlstate("57P01"), Code::kUnavailable);
  EXPECT_EQ(code_from_sqlstate("23505"), Code::kConflict);
  EXPECT_EQ(code_from_sqlstate("42501"), Code::kPermission);
}

}  // namespace
}  // namespace banyan::pg
