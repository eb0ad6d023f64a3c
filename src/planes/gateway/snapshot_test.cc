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
        "health": {"path": "/healthz", "host": "docs.example", "interval_ms": 1000,
                   "timeout_ms": 2000, "rise": 2, "fall": 3}},
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

}  // namespace
}  // namespace banyan::gateway
