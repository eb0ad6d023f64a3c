#include "control/import_haproxy.h"

#include <gtest/gtest.h>

#include "spec/spec_yaml.h"

namespace banyan::control {
namespace {

constexpr std::string_view kConfig = R"(global
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout server 50s
frontend web
    bind *:80
    bind *:443 ssl crt /x.pem
    acl api path_beg /api /v2
    acl shop hdr(host) -i shop.example
    acl writes method POST PUT
    acl inside src 10.0.0.0/8
    acl odd path_reg ^/x
    http-request set-header X-Side next
    http-request redirect scheme https code 301 if !{ ssl_fc }
    http-request deny if { path_beg /admin } !inside
    http-request redirect location /next if { path /old }
    use_backend api if api writes
    use_backend shop-be if shop or { hdr(x-beta) 1 }
    use_backend api if odd
    default_backend app
backend app
    balance leastconn
    option httpchk GET /healthz
    cookie SRV insert
    server a 10.0.0.1:8000 weight 3 check
    server b 10.0.0.2:8000 check backup
backend api
    balance hdr(x-user)
    retries 1
    http-request set-header Host api.internal
    server a 10.0.0.3:8000
backend shop-be
    timeout server 5s
    server a 10.0.0.4
listen db
    mode tcp
    bind :5432
    server p 10.0.0.9:5432
)";

Imported imported() {
  auto out = import_haproxy(kConfig, "/etc/haproxy.cfg");
  EXPECT_TRUE(out);
  return *out;
}

const spec::Route* find(const Imported& in, const std::string& id, const std::string& host = "") {
  const auto found = std::ranges::find_if(
      in.routes, [&](const auto& r) { return r.id == id && r.host.value_or("") == host; });
  return found == in.routes.end() ? nullptr : &*found;
}

bool left(const Imported& in, const std::string& where) {
  return std::ranges::any_of(in.left,
                             [&](const auto& one) { return one.where == "haproxy.cfg:" + where; });
}

TEST(ImportHaproxy, CarriesBackends) {
  const Imported in = imported();
  EXPECT_EQ(in.services.at("app").endpoints[0].weight, 3);
  EXPECT_TRUE(in.services.at("app").endpoints[1].backup);
  EXPECT_EQ(in.services.at("app").health.path, "/healthz");
  EXPECT_EQ(in.services.at("api").traffic.balance, "hash");
  EXPECT_EQ(in.services.at("api").traffic.hash.name, "x-user");
  EXPECT_EQ(in.services.at("shop-be").endpoints[0].address, "10.0.0.4:80");
  EXPECT_FALSE(in.services.contains("db"));
}

TEST(ImportHaproxy, CarriesConditionsAsRoutes) {
  const Imported in = imported();
  ASSERT_NE(find(in, "POST /api/*"), nullptr);
  ASSERT_NE(find(in, "PUT /v2/*"), nullptr);
  EXPECT_EQ(find(in, "POST /api/*")->rules.rewrite->host, "api.internal");
  EXPECT_EQ(find(in, "POST /api/*")->rules.retry.attempts, 1);
  EXPECT_EQ(find(in, "/*", "shop.example")->rules.timeout, spec::Millis(5000));
  EXPECT_EQ(find(in, "/old")->rules.redirect->location, "/next");
  const auto beta =
      std::ranges::find_if(in.routes, [](const auto& r) { return !r.rules.when.headers.empty(); });
  ASSERT_NE(beta, in.routes.end());
  EXPECT_EQ(beta->to, "shop-be");
  const auto rest = std::ranges::find_if(in.routes, [](const auto& r) { return r.to == "app"; });
  ASSERT_NE(rest, in.routes.end());
  EXPECT_EQ(rest->rules.timeout, spec::Millis(50'000));
  EXPECT_EQ(rest->rules.headers.request.set[0].name, "X-Side");
}

TEST(ImportHaproxy, SaysWhatWasLeftWithItsLine) {
  const Imported in = imported();
  for (const char* line : {"9", "16", "17", "21", "26", "37"}) EXPECT_TRUE(left(in, line)) << line;
  for (const char* line : {"10", "19", "20", "25"}) EXPECT_FALSE(left(in, line)) << line;
}

TEST(ImportHaproxy, WhatItWritesIsAValidSpec) {
  const std::string yaml = imported_yaml(imported(), "docs", "haproxy.cfg");
  const auto outcome = spec::parse_spec(yaml, "/etc/banyan.yaml");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << spec::format(problem) << yaml;
  EXPECT_EQ(outcome.spec.services.at("api").traffic.hash.name, "x-user");
}

}  // namespace
}  // namespace banyan::control
