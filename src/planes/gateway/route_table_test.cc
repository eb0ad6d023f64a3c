#include "planes/gateway/route_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace banyan::gateway {
namespace {

RouteSpec route(std::string id, std::string path, std::vector<std::string> methods = {},
                std::optional<std::string> host = {}) {
  return {.id = std::move(id),
          .methods = std::move(methods),
          .host = std::move(host),
          .path = std::move(path),
          .to = "b"};
}

std::string match(const RouteTable& table, std::string_view method, std::string_view path,
                  std::string_view host = "any") {
  const Route* found = table.match(method, host, path);
  return found == nullptr ? "none" : found->spec.id;
}

TEST(RouteTable, MatchesTemplates) {
  const RouteTable table({route("param", "/a/:id/b"), route("static", "/static/*")});
  EXPECT_EQ(match(table, "GET", "/a/1/b"), "param");
  EXPECT_EQ(match(table, "GET", "/a//b"), "none");
  EXPECT_EQ(match(table, "GET", "/a/1/b/"), "none");
  EXPECT_EQ(match(table, "GET", "/a/1"), "none");
  EXPECT_EQ(match(table, "GET", "/static/x/y"), "static");
  EXPECT_EQ(match(table, "GET", "/static/"), "static");
  EXPECT_EQ(match(table, "GET", "/static"), "static");
  EXPECT_EQ(match(table, "GET", "/"), "none");
}

TEST(RouteTable, PrefersHostThenSpecificPathThenMethod) {
  std::vector<RouteSpec> specs = {
      route("all", "/*"),
      route("all-post", "/*", {"POST"}),
      route("param", "/users/:id"),
      route("literal", "/users/me"),
      route("literal-get", "/users/me", {"GET"}),
      route("rest", "/users/*"),
      route("host", "/*", {}, "docs.example"),
  };
  std::mt19937 chance(1);
  for (int i = 0; i < 20; ++i) {
    std::ranges::shuffle(specs, chance);
    const RouteTable table(specs);
    EXPECT_EQ(match(table, "GET", "/users/me"), "literal-get");
    EXPECT_EQ(match(table, "PUT", "/users/me"), "literal");
    EXPECT_EQ(match(table, "GET", "/users/7"), "param");
    EXPECT_EQ(match(table, "GET", "/users/7/x"), "rest");
    EXPECT_EQ(match(table, "POST", "/x"), "all-post");
    EXPECT_EQ(match(table, "GET", "/x"), "all");
    EXPECT_EQ(match(table, "GET", "/users/me", "Docs.EXAMPLE"), "host");
  }
}

TEST(RouteTable, AMoreSpecificPathOfAnotherMethodFallsThrough) {
  const RouteTable table({route("get", "/a", {"GET"}), route("all", "/*")});
  EXPECT_EQ(match(table, "POST", "/a"), "all");
}

TEST(RouteTable, AsteriskTargetMatchesTheRoot) {
  EXPECT_EQ(match(RouteTable({route("all", "/*")}), "OPTIONS", "*"), "all");
}

TEST(RouteTable, FindsRoutesThatCannotBeToldApart) {
  EXPECT_FALSE(RouteTable::check_distinct({route("a", "/x/:id"), route("b", "/x/:name")}));
  EXPECT_FALSE(
      RouteTable::check_distinct({route("a", "/x", {"GET", "PUT"}), route("b", "/x", {"PUT"})}));
  EXPECT_TRUE(RouteTable::check_distinct({route("a", "/x", {"GET"}), route("b", "/x")}));
  EXPECT_TRUE(RouteTable::check_distinct({route("a", "/x", {}, "h"), route("b", "/x")}));
}

TEST(HostWithoutPort, KnowsIpv6) {
  EXPECT_EQ(host_without_port("Docs.Example:8080"), "Docs.Example");
  EXPECT_EQ(host_without_port("[::1]:80"), "[::1]");
  EXPECT_EQ(host_without_port("[::1]"), "[::1]");
  EXPECT_EQ(host_without_port(""), "");
}

}  // namespace
}  // namespace banyan::gateway
