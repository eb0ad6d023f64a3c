#include "planes/gateway/cookie.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

TEST(Cookie, IsFoundAmongOthers) {
  EXPECT_EQ(cookie_value("a=1; session=x=y;b", "session"), "x=y");
  EXPECT_EQ(cookie_value("a=1;b=2", "b"), "2");
  EXPECT_EQ(cookie_value("xsession=1", "session"), std::nullopt);
  EXPECT_EQ(cookie_value("", "a"), std::nullopt);
  EXPECT_EQ(cookie_value("a", "a"), "");
}

TEST(Cookie, TheFirstOfTwoWithOneNameCounts) {
  EXPECT_EQ(cookie_value("a=1; a=2", "a"), "1");
}

CookieScope strip() {
  return {.path_from = "/",
          .path_to = "/old",
          .domain_from = "app.internal",
          .domain_to = "docs.example"};
}

TEST(RescopedCookie, MovesPathAndDomain) {
  EXPECT_EQ(rescoped_cookie("s=1; Path=/; Domain=.app.internal; HttpOnly", strip()),
            "s=1; Path=/old; Domain=docs.example; HttpOnly");
  EXPECT_EQ(rescoped_cookie("s=1; path=/admin", strip()), "s=1; Path=/old/admin");
}

TEST(RescopedCookie, LeavesWhatIsNotTheBackends) {
  EXPECT_EQ(rescoped_cookie("s=1; Domain=other.example; Secure", strip()),
            "s=1; Domain=other.example; Secure");
  CookieScope scope = strip();
  scope.path_from = "/app";
  EXPECT_EQ(rescoped_cookie("s=1; Path=/apple", scope), "s=1; Path=/apple");
  EXPECT_EQ(rescoped_cookie("s=1; Path=/app/x", scope), "s=1; Path=/old/x");
}

TEST(RescopedCookie, ACookieThatIsBoundToItsHostStaysAsBrowsersWantIt) {
  for (const char* cookie : {"__Host-s=1; Path=/; Secure", "__host-s=1; Path=/; Secure"})
    EXPECT_EQ(rescoped_cookie(cookie, strip()), cookie);
  EXPECT_EQ(rescoped_cookie("__Secure-s=1; Path=/; Secure", strip()),
            "__Secure-s=1; Path=/old; Secure");
}

TEST(RescopedCookie, WithoutAttributesIsTheSame) {
  EXPECT_EQ(rescoped_cookie("s=a b", strip()), "s=a b");
}

}  // namespace
}  // namespace banyan::gateway
