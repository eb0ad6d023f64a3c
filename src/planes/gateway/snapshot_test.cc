#include "planes/gateway/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json sample() {
  return json::parse(R"({
    "epoch": 17, "listen": ["127.0.0.1:8080"], "public_host": "docs.example", "access_log": null,
    "backends": {"source": {"endpoints": [{"address": "127.0.0.1:8000", "zone": "old"}],
        "health": {"path": "/healthz", "host": "docs.example", "interval": 1000,
                   "timeout": 2000, "rise": 2, "fall": 3}},
      "web": {"endpoints": []}},
    "routes": [
      {"id": "r1", "methods": ["GET"], "host": null, "path": "/progress/:userId", "to": "source"},
      {"id": "default", "methods": [], "path": "/*", "to": "source"}],
    "limits": {"response_ms": 1234}})");
}

std::string problems(const json& in) {
  const auto result = RouteSnapshot::from_json(in);
  return result ? "" : result.error().message();
}

TEST(RouteSnapshot, IsReadFromJson) {
  const auto snapshot = RouteSnapshot::from_json(sample());
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->epoch, 17U);
  EXPECT_EQ(snapshot->backends.at("source").endpoints[0].zone, "old");
  EXPECT_EQ(snapshot->backends.at("source").health->fall, 3);
  EXPECT_EQ(snapshot->routes[0].path, "/progress/:userId");
  EXPECT_EQ(snapshot->limits.response_ms, Millis(1234));
  EXPECT_EQ(snapshot->access_log, std::nullopt);
}

TEST(RouteSnapshot, SurvivesItsOwnJson) {
  const auto snapshot = RouteSnapshot::from_json(sample());
  ASSERT_TRUE(snapshot);
  const auto again = RouteSnapshot::from_json(snapshot->to_json());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(*again, *snapshot);
}

TEST(RouteSnapshot, ReportsAllProblemsTogetherEachWithItsPath) {
  json in = sample();
  in["routes"][1]["to"] = "web2";
  in["routes"][0]["path"] = "progress";
  in["backends"]["source"]["endpoints"][0]["address"] = "nowhere";
  in["limits"]["retries"] = -1;
  in["colour"] = "blue";
  in.erase("epoch");
  const std::string text = problems(in);
  EXPECT_THAT(text, HasSubstr("routes[1].to: no backend named 'web2'"));
  EXPECT_THAT(text, HasSubstr("routes[0].path: must start with /"));
  EXPECT_THAT(text, HasSubstr("backends.source.endpoints[0].address: must be host:port"));
  EXPECT_THAT(text, HasSubstr("limits.retries: must be an integer from 0 to 10"));
  EXPECT_THAT(text, HasSubstr("colour: unknown key; remove it"));
  EXPECT_THAT(text, HasSubstr("epoch: is required"));
}

TEST(RouteSnapshot, SharedLimitsSayWhereTheirRedisIs) {
  json in = sample();
  in["limits"]["client_requests_per_s"] = 5;
  in["limits"]["shared"] = {{"redis", "limits"}};
  EXPECT_THAT(problems(in), HasSubstr("limits_redis: goes with limits.shared"));
  in["limits_redis"] = {{"kind", "env"}, {"text", "LIMITS_REDIS"}};
  const auto snapshot = RouteSnapshot::from_json(in);
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->limits_redis->text, "LIMITS_REDIS");
  EXPECT_EQ(RouteSnapshot::from_json(snapshot->to_json()), *snapshot);
}

TEST(RouteSnapshot, RefusesWrongTypesWithoutCrashing) {
  for (const char* key : {"epoch", "listen", "backends", "routes", "limits", "public_host"}) {
    for (const json& wrong : {json(true), json(-1), json("x"), json::array({1}), json{{"a", 1}}}) {
      json in = sample();
      in[key] = wrong;
      if (std::string(key) == "public_host" && wrong.is_string()) continue;
      EXPECT_NE(problems(in), "") << key << " " << wrong;
    }
  }
  EXPECT_NE(problems(json()), "");
  EXPECT_NE(problems(json::array()), "");
}

TEST(RouteSnapshot, RefusesAmbiguousRoutesAndBadTemplates) {
  json twice = sample();
  twice["routes"].push_back({{"id", "again"}, {"path", "/*"}, {"to", "web"}});
  EXPECT_THAT(problems(twice), HasSubstr("matches the same requests"));
  for (const char* path : {"/a*", "/*/b", "/:", "/a?b", "/:/b"}) {
    json in = sample();
    in["routes"][0]["path"] = path;
    EXPECT_THAT(problems(in), HasSubstr("routes[0].path")) << path;
  }
}

nlohmann::json with_rules() {
  return nlohmann::json::parse(R"({"epoch": 3, "listen": ["127.0.0.1:1"],
    "backends": {"old": {"endpoints": [{"address": "127.0.0.1:2", "weight": 5, "backup": true}],
                         "balance": "peak_ewma", "slow_start": 30000, "limits": {"requests": 7}},
                 "new": {"endpoints": []}},
    "routes": [
      {"id": "a", "path": "/a/*", "host": "*.Example.org", "weights": [["old", 90], ["new", 10]],
       "sticky": {"by": "cookie", "name": "sid", "salt": "x"},
       "when": {"headers": [["x-beta", "1"]], "query": [["v", "*"]], "source": ["10.0.0.0/8"]},
       "rewrite": {"prefix": "/", "host": "app.internal"}, "timeout": 5000,
       "retry": {"attempts": 0, "on": ["reset", "503"]},
       "headers": {"request": {"set": [["x-a", "1"]], "remove": ["x-b"]}},
       "limits": {"rate": {"per_second": 5}, "requests": 10, "adaptive": true},
       "fallback": {"respond": {"status": 503, "body": "later"}}, "priority": "low"},
      {"id": "b", "path": "/b", "redirect": {"status": 301, "location": "/c"}},
      {"id": "c", "path": "/c", "respond": {"body": "hi"}}],
    "limits": {"body_rate": 100, "client_connections": 5}})");
}

TEST(RouteSnapshot, CarriesTheRulesOfRoutesAndBackends) {
  const auto snapshot = RouteSnapshot::from_json(with_rules());
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  const spec::RouteRules& rules = snapshot->routes[0].rules;
  EXPECT_EQ(snapshot->routes[0].host, "*.example.org");
  EXPECT_EQ(rules.weights[1], (spec::Weight{"new", 10}));
  EXPECT_EQ(rules.sticky->name, "sid");
  EXPECT_EQ(rules.limits.rate->per_second, 5);
  EXPECT_EQ(rules.timeout, Millis(5000));
  EXPECT_EQ(snapshot->routes[1].rules.redirect->location, "/c");
  EXPECT_EQ(snapshot->backends.at("old").traffic.limits.requests, 7);
  EXPECT_EQ(snapshot->limits.client_connections, 5);
  EXPECT_EQ(RouteSnapshot::from_json(snapshot->to_json()).value(), *snapshot);
}

TEST(RouteSnapshot, ARouteWithoutRulesStaysSmall) {
  auto in = with_rules();
  in["routes"] = nlohmann::json::parse(R"([{"id": "a", "path": "/*", "to": "old"}])");
  const auto snapshot = RouteSnapshot::from_json(in);
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->to_json()["routes"][0].size(), 5U);
}

TEST(RouteSnapshot, NamesWhatIsWrongInTheRules) {
  auto in = with_rules();
  in["routes"][0]["weights"][1][0] = "newer";
  in["routes"][0]["when"]["source"][0] = "10.0.0.0/99";
  in["routes"][0]["headers"]["request"]["set"][0][0] = "content-length";
  in["routes"][0]["headers"]["request"]["set"][0][1] = "1\r\nx: y";
  in["routes"][0]["sticky"]["nmae"] = 1;
  in["routes"][1]["redirect"]["status"] = 305;
  const auto snapshot = RouteSnapshot::from_json(in);
  ASSERT_FALSE(snapshot);
  for (const char* part :
       {"routes[0].weights: no backend named 'newer'", "routes[0].when.source: 10.0.0.0/99",
        "routes[0].headers.request.set: content-length is the gateway's own",
        "routes[0].headers.request.set: content-length: the value has control characters",
        "routes[0].sticky.nmae: unknown key", "routes[1].redirect.status: not a redirect"})
    EXPECT_NE(snapshot.error().message().find(part), std::string::npos)
        << snapshot.error().message();
}

}  // namespace
}  // namespace banyan::gateway
