// The orders and what survives a restart; traffic is tested with real clients in tests/gateway.
#include "planes/gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace banyan::gateway {
namespace {

class Gateways : public testing::Test {
 public:
  Gateways() {
    std::string name = (std::filesystem::temp_directory_path() / "gateway-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~Gateways() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Gateway> started() {
    auto gateway = Gateway::start({.state_dir = directory_, .workers = 2});
    if (!gateway) ADD_FAILURE() << gateway.error().message();
    return gateway ? *std::move(gateway) : nullptr;
  }
  static RouteSnapshot snapshot(std::uint64_t epoch) {
    RouteSnapshot made;
    made.epoch = epoch;
    made.listen = {"127.0.0.1:0"};
    made.backends["web"] = {.endpoints = {{.address = "127.0.0.1:9", .zone = ""}}, .health = {}};
    made.routes.push_back(
        {.id = "all", .methods = {}, .host = std::nullopt, .path = "/*", .to = "web"});
    return made;
  }

  std::string directory_;
};

TEST_F(Gateways, ASnapshotSurvivesARestart) {
  ASSERT_TRUE(started()->put_snapshot(snapshot(7)));
  EXPECT_EQ(started()->status()["epoch"], 7);
}

TEST_F(Gateways, AnOlderSnapshotIsRefused) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(7)));
  EXPECT_EQ(gateway->put_snapshot(snapshot(6)).error().code(), Code::kConflict);
}

TEST_F(Gateways, TheSameEpochIsTakenOnlyWithTheSameContent) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(7)));
  EXPECT_EQ(*gateway->put_snapshot(snapshot(7)), 7u);
  RouteSnapshot other = snapshot(7);
  other.routes[0].path = "/a";
  EXPECT_EQ(gateway->put_snapshot(other).error().code(), Code::kConflict);
}

TEST_F(Gateways, ACommittedHoldIsStillClosedAfterARestart) {
  {
    auto gateway = started();
    ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
    ASSERT_TRUE(gateway->close_hold({.epoch = 2}));
    ASSERT_TRUE(gateway->commit_hold(2));
  }
  auto gateway = started();
  EXPECT_EQ(gateway->status()["phase"], "committed");
  EXPECT_EQ(gateway->status()["hold_epoch"], 2);
}

TEST_F(Gateways, OrdersOfAnOlderActAreRefusedWhileAHoldIsClosed) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(5)));
  ASSERT_TRUE(gateway->close_hold({.epoch = 7}));
  EXPECT_EQ(gateway->close_hold({.epoch = 6}).error().code(), Code::kConflict);
  ASSERT_TRUE(gateway->commit_hold(7));
  ASSERT_TRUE(gateway->put_snapshot(snapshot(6)));
  EXPECT_EQ(gateway->open_hold(6, 0).error().code(), Code::kConflict);
  EXPECT_EQ(gateway->status()["phase"], "committed");
}

TEST_F(Gateways, ARevocableHoldDoesNotSurviveARestart) {
  {
    auto gateway = started();
    ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
    ASSERT_TRUE(gateway->close_hold({.epoch = 2}));
  }
  auto gateway = started();
  EXPECT_EQ(gateway->status()["phase"], "open");
  EXPECT_EQ(gateway->commit_hold(2).error().code(), Code::kConflict);
}

TEST_F(Gateways, OpeningWaitsForTheSnapshotOfItsEpoch) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
  ASSERT_TRUE(gateway->close_hold({.epoch = 2}));
  ASSERT_TRUE(gateway->commit_hold(2));
  EXPECT_EQ(gateway->open_hold(2, 0).error().code(), Code::kConflict);
  ASSERT_TRUE(gateway->put_snapshot(snapshot(2)));
  EXPECT_TRUE(gateway->open_hold(2, 0));
  EXPECT_EQ(gateway->status()["phase"], "open");
}

TEST_F(Gateways, OrdersMayBeRepeated) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(gateway->close_hold({.epoch = 2}));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(gateway->commit_hold(2));
  EXPECT_TRUE(gateway->close_hold({.epoch = 2}));
  EXPECT_EQ(gateway->status()["phase"], "committed");
  ASSERT_TRUE(gateway->put_snapshot(snapshot(2)));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(gateway->open_hold(2, 0));
}

TEST_F(Gateways, AnotherHoldIsRefusedWhileOneIsCommitted) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
  ASSERT_TRUE(gateway->close_hold({.epoch = 2}));
  ASSERT_TRUE(gateway->commit_hold(2));
  EXPECT_EQ(gateway->close_hold({.epoch = 3}).error().code(), Code::kConflict);
}

TEST_F(Gateways, AnAddressInUseIsRefusedAndNothingChanges) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
  RouteSnapshot next = snapshot(2);
  next.listen = {"203.0.113.1:1"};  // not an address of this machine
  EXPECT_FALSE(gateway->put_snapshot(next));
  EXPECT_EQ(gateway->status()["epoch"], 1);
}

TEST_F(Gateways, AnUnknownEndpointCannotBeDrained) {
  auto gateway = started();
  ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
  EXPECT_EQ(gateway->drain_endpoint({"web", "127.0.0.1:1"}, 0s).error().code(), Code::kNotFound);
  EXPECT_EQ(*gateway->drain_endpoint({"web", "127.0.0.1:9"}, 0s), 0);
}

TEST_F(Gateways, ADrainedEndpointStaysOutOverARestartUntilItIsTakenInAgain) {
  const auto is_draining = [](Gateway& gateway) {
    return gateway.status()["backends"][0]["endpoints"][0]["draining"].get<bool>();
  };
  {
    auto gateway = started();
    ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
    ASSERT_TRUE(gateway->drain_endpoint({"web", "127.0.0.1:9"}, 0s));
    ASSERT_TRUE(gateway->put_snapshot(snapshot(2)));
    EXPECT_TRUE(is_draining(*gateway));
  }
  {
    auto gateway = started();
    EXPECT_TRUE(is_draining(*gateway));
    ASSERT_TRUE(gateway->undrain_endpoint({"web", "127.0.0.1:9"}));
  }
  EXPECT_FALSE(is_draining(*started()));
}

TEST_F(Gateways, AnEndpointThatASnapshotDroppedIsNotRememberedAsDrained) {
  {
    auto gateway = started();
    ASSERT_TRUE(gateway->put_snapshot(snapshot(1)));
    ASSERT_TRUE(gateway->drain_endpoint({"web", "127.0.0.1:9"}, 0s));
    RouteSnapshot without = snapshot(2);
    without.backends["web"].endpoints[0].address = "127.0.0.1:10";
    ASSERT_TRUE(gateway->put_snapshot(without));
    ASSERT_TRUE(gateway->put_snapshot(snapshot(3)));
  }
  EXPECT_FALSE(started()->status()["backends"][0]["endpoints"][0]["draining"].get<bool>());
}

TEST_F(Gateways, AStateFileThatIsNotOneIsReported) {
  std::ofstream(directory_ + "/gateway.json") << "{";
  const auto gateway = Gateway::start({.state_dir = directory_, .workers = 1});
  ASSERT_FALSE(gateway);
  EXPECT_EQ(gateway.error().code(), Code::kCorruption);
  EXPECT_THAT(gateway.error().remedy(), testing::StartsWith("1. Start the version"));
}

TEST_F(Gateways, AStateOfAnotherVersionIsRefusedWithWaysOut) {
  std::ofstream(directory_ + "/gateway.json")
      << R"({"hold": {}, "snapshot": {"epoch": 1, "listen": [], "routes": [], "backends":
          {"b": {"endpoints": [], "health": {"path": "/", "interval_ms": 1000}}}}})";
  const auto gateway = Gateway::start({.state_dir = directory_, .workers = 1});
  ASSERT_FALSE(gateway);
  EXPECT_THAT(gateway.error().message(), testing::HasSubstr("backends.b.health.interval_ms"));
  EXPECT_THAT(gateway.error().remedy(), testing::HasSubstr("2. Unless a switch is under way"));
}

}  // namespace
}  // namespace banyan::gateway
