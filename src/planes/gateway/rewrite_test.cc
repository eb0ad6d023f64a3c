#include "planes/gateway/rewrite.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

RouteSpec moved(std::string prefix, std::optional<std::string> host = {}) {
  RouteSpec out;
  out.path = "/old/*";
  out.rules.rewrite = spec::Rewrite{std::move(prefix), std::move(host)};
  return out;
}

TEST(RewrittenTarget, ReplacesThePrefixAndKeepsTheRestAsWritten) {
  EXPECT_EQ(rewritten_target("/old/a%2Fb//c?x=%20", "/old/a%2Fb/c", "/old", "/new"),
            "/new/a%2Fb//c?x=%20");
  EXPECT_EQ(rewritten_target("/old/a", "/old/a", "/old", "/"), "/a");
  EXPECT_EQ(rewritten_target("/old", "/old", "/old", "/"), "/");
  EXPECT_EQ(rewritten_target("/a", "/a", "", "/new"), "/new/a");
  EXPECT_EQ(rewritten_target("/old", "/old", "/old", "/new"), "/new");
}

TEST(RewrittenTarget, CannotBeClimbedOutOf) {
  EXPECT_EQ(rewritten_target("/old/../old/x", "/old/x", "/old", "/new"), "/new/x");
  EXPECT_EQ(rewritten_target("/old/%2e%2E/old/x", "/old/x", "/old", "/new"), "/new/x");
}

TEST(RewrittenTarget, KnowsAPrefixWrittenInAnotherWay) {
  EXPECT_EQ(rewritten_target("//old/x?q", "/old/x", "/old", "/new"), "/new/x?q");
  EXPECT_EQ(rewritten_target("/%6Fld/x", "/old/x", "/old", "/new"), "/new/x");
  EXPECT_EQ(rewritten_target("/t7/app/x", "/t7/app/x", "/:tenant/app", "/new"), "/new/x");
}

TEST(EditedRequestHead, SetsAddsAndRemoves) {
  RouteSpec route = moved("/", "app.internal");
  route.rules.headers.request = {
      .set = {{"X-Side", "new"}}, .add = {{"x-a", "2"}}, .remove = {"Cookie"}};
  EXPECT_EQ(edited_request_head("GET /old/x?a HTTP/1.1\r\nhost: docs.example\r\nx-side: evil\r\n"
                                "X-A: 1\r\ncookie: s\r\n\r\n",
                                route, "/old/x"),
            "GET /x?a HTTP/1.1\r\nhost: app.internal\r\nX-A: 1\r\nX-Side: new\r\nx-a: 2\r\n\r\n");
}

std::string response(const RouteSpec& route, const std::string& field) {
  const ResponseScene scene{
      .scheme = "https", .authority = "docs.example:8443", .upstream = "127.0.0.1:9000"};
  const std::string out =
      edited_response_head("HTTP/1.1 302 Found\r\n" + field + "\r\n\r\n", route, scene);
  const std::string start = "HTTP/1.1 302 Found\r\n";
  EXPECT_TRUE(out.starts_with(start) && out.ends_with("\r\n\r\n")) << out;
  return out.substr(start.size(), out.size() - start.size() - 4);
}

TEST(EditedResponseHead, ClientsNeverSeeTheBackendsNames) {
  const RouteSpec route = moved("/app", "app.internal");
  EXPECT_EQ(response(route, "Location: /app/login?n=1"), "Location: /old/login?n=1");
  EXPECT_EQ(response(route, "location: http://app.internal/app/x"),
            "location: https://docs.example:8443/old/x");
  EXPECT_EQ(response(route, "location: http://127.0.0.1:9000/app"),
            "location: https://docs.example:8443/old");
  EXPECT_EQ(response(route, "refresh: 5; URL=/app/y"), "refresh: 5; URL=/old/y");
  EXPECT_EQ(response(route, "set-cookie: s=1; Path=/app; Domain=app.internal"),
            "set-cookie: s=1; Path=/old; Domain=docs.example");
}

TEST(EditedResponseHead, OtherNamesStay) {
  const RouteSpec route = moved("/app");
  for (const char* field : {"location: https://other.example/app/x", "location: /apple",
                            "location: next", "location: //other.example/app", "x-url: /app"})
    EXPECT_EQ(response(route, field), field);
}

TEST(EditedResponseHead, APortThatTheSchemeMeansIsNoOtherHost) {
  const RouteSpec route = moved("/app", "app.internal");
  EXPECT_EQ(response(route, "location: http://app.internal:80/app/x"),
            "location: https://docs.example:8443/old/x");
  EXPECT_EQ(response(route, "location: https://app.internal:443/app/x"),
            "location: https://docs.example:8443/old/x");
  for (const char* field : {"location: http://app.internal:443/app/x",
                            "location: //app.internal:80/app/x",
                            "location: http://app.internal:8080/app/x"})
    EXPECT_EQ(response(route, field), field);
}

TEST(EditedResponseHead, AStrippedPrefixComesBack) {
  EXPECT_EQ(response(moved("/"), "location: /login"), "location: /old/login");
  EXPECT_EQ(response(moved("/"), "location: /"), "location: /old/");
  EXPECT_EQ(response(moved("/"), "set-cookie: s=1; Path=/"), "set-cookie: s=1; Path=/old");
}

std::string location(const std::string& text, const std::string& path, const std::string& target) {
  RouteSpec route;
  route.path = "/u/:id/*";
  const RequestFacts facts{.method = "GET", .host = "h", .path = path};
  return expanded_location(text, route, facts, "http", "docs.example:80", target);
}

TEST(ExpandedLocation, KnowsTheRequest) {
  EXPECT_EQ(location("https://${host}${uri}", "/u/7/x", "/u/7/x?a=1"),
            "https://docs.example:80/u/7/x?a=1");
  EXPECT_EQ(location("/people/${id}/${*}${query}", "/u/7/x/y", "/u/7/x/y?a=1"),
            "/people/7/x/y?a=1");
  EXPECT_EQ(location("/x${unknown}", "/u/7/x", "/u/7/x"), "/x");
  EXPECT_EQ(location("/x${", "/u/7/x", "/u/7/x"), "/x${");
}

TEST(ExpandedLocation, IsNeverAnotherHostByAccident) {
  EXPECT_EQ(location("${uri}", "/u/7/x", "//evil.example/u"), "/evil.example/u");
}

}  // namespace
}  // namespace banyan::gateway
