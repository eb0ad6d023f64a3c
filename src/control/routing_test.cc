#include "control/routing.h"

#include <gtest/gtest.h>

namespace banyan::control {
namespace {

using migration::Side;
using nlohmann::json;

spec::Spec lift() {
  spec::Spec spec;
  spec.source.emplace();
  spec.source->app.listen = "127.0.0.1:8000";
  spec.gateway.listen = {"127.0.0.1:8080"};
  spec.services["web"].name = "web";
  spec.services["web"].command = "run";
  spec::Route route;
  route.id = route.path = "/*";
  route.to = "web";
  route.before_switch = "source";
  spec.routes = {route};
  spec.migrations["lift"].routes = {"/*"};
  return spec;
}

json fleet(const std::string& state) {
  return {{"services",
           {{{"name", "web"},
             {"instances", {{{"address", "127.0.1.1:9001"}, {"zone", "a"}, {"state", state}}}}}}}};
}

TEST(Routing, BeforeTheSwitchTheOldApplicationServes) {
  const json out = route_snapshot(lift(), fleet("ready"), {}, 3);
  EXPECT_EQ(out["routes"][0]["to"], "source");
  EXPECT_EQ(out["epoch"], 3);
}

TEST(Routing, AfterTheSwitchTheServiceServes) {
  const json out = route_snapshot(lift(), fleet("ready"), {{"lift", Side::kNew}}, 4);
  EXPECT_EQ(out["routes"][0]["to"], "web");
  EXPECT_EQ(out["backends"]["web"]["endpoints"][0]["address"], "127.0.1.1:9001");
}

TEST(Routing, OnTheOldSideOneBackendServesAllOfAWeightedRoute) {
  spec::Spec spec = lift();
  spec.routes[0].to.clear();
  spec.routes[0].rules.weights = {{"source", 90}, {"web", 10}};
  const json before = route_snapshot(spec, fleet("ready"), {}, 1);
  EXPECT_EQ(before["routes"][0]["to"], "source");
  EXPECT_FALSE(before["routes"][0].contains("weights"));
  const json after = route_snapshot(spec, fleet("ready"), {{"lift", Side::kNew}}, 2);
  EXPECT_FALSE(after["routes"][0].contains("to"));
  EXPECT_EQ(after["routes"][0]["weights"], json::parse(R"([["source", 90], ["web", 10]])"));
}

TEST(Routing, ServicesThatRunElsewhereAreThereWithTheirWeights) {
  spec::Spec spec = lift();
  spec.services["far"].endpoints = {{"10.0.0.1:80", "", 3, false}};
  spec.gateway.limits.body_rate = 7;
  const json out = route_snapshot(spec, fleet("ready"), {}, 1);
  EXPECT_EQ(out["backends"]["far"]["endpoints"][0]["weight"], 3);
  EXPECT_FALSE(out["backends"]["far"].contains("health"));
  EXPECT_EQ(out["limits"]["body_rate"], 7);
}

TEST(Routing, ASnapshotSaysWhereTheRedisOfTheLimitsIsFoundAndNoPassword) {
  spec::Spec spec = lift();
  spec.secrets_file = "/site/.env";
  spec.redis["limits"].url = {spec::SecretRef::Kind::kSecret, "LIMITS_REDIS", {}};
  EXPECT_FALSE(route_snapshot(spec, fleet("ready"), {}, 1).contains("limits_redis"));
  spec.gateway.limits.client_requests_per_s = 5;
  spec.gateway.limits.shared = {.redis = "limits"};
  const json out = route_snapshot(spec, fleet("ready"), {}, 1);
  EXPECT_EQ(out["limits"]["shared"]["redis"], "limits");
  EXPECT_EQ(out["limits_redis"], json::parse(R"({"kind": "secret", "text": "LIMITS_REDIS",
                                                 "secrets_file": "/site/.env"})"));
}

TEST(Routing, DrainingInstancesAreLeftOut) {
  const json out = route_snapshot(lift(), fleet("draining"), {}, 1);
  EXPECT_TRUE(out["backends"]["web"]["endpoints"].empty());
}

}  // namespace
}  // namespace banyan::control
