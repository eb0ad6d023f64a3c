#include "planes/gateway/shared_rates.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

using redis::Reply;

std::string client(std::string_view address) {
  const spec::IpBytes block = spec::client_block(*spec::parse_ip(address));
  return {reinterpret_cast<const char*>(block.data()), block.size()};
}

Reply answer(const std::vector<std::string>& texts) {
  Reply reply{.kind = Reply::Kind::kArray, .integer = 0, .text = {}, .items = {}};
  for (const std::string& text : texts)
    reply.items.push_back({.kind = Reply::Kind::kText, .integer = 0, .text = text, .items = {}});
  return reply;
}

TEST(SharedRates, AChargeNamesEveryClientOnceAndWhatItWasAdmitted) {
  const std::vector<ClientRates::Asked> asked = {{client("192.0.2.1"), 3},
                                                 {client("2001:db8::1:2"), 0}};
  const auto command = charge_command("p:", {.per_second = 50, .burst = 7}, asked);
  EXPECT_EQ(command[0], "EVAL");
  const redis::Command rest(command.begin() + 2, command.end());
  EXPECT_EQ(rest, (redis::Command{"2", "p:192.0.2.1", "p:2001:db8::/64", "50", "7", "3", "0"}));
}

TEST(SharedRates, AnAnswerIsANumberForEachClientOrAnError) {
  EXPECT_EQ(tokens_left(answer({"1.500", "-20"}), 2).value(), (std::vector<double>{1.5, -20}));
  EXPECT_TRUE(tokens_left(answer({}), 0).value().empty());
  for (const auto& wrong : {answer({"1"}), answer({"1", "x"}), answer({"1", ""}),
                            answer({"x", "1"}), answer({"1", "2", "3"}), Reply{}})
    EXPECT_FALSE(tokens_left(wrong, 2));
}

TEST(SharedRates, AreOffUntilASnapshotSharesThem) {
  ClientRates rates;
  SystemClock clock;
  SharedRates shared(rates, clock);
  RouteSnapshot snapshot;
  shared.adopt(snapshot);
  EXPECT_EQ(shared.is_up(), std::nullopt);
  snapshot.limits.client_requests_per_s = 1;
  snapshot.limits.shared = {.redis = "limits"};
  snapshot.limits_redis.emplace().text = "redis://127.0.0.1:1";
  shared.adopt(snapshot);
  EXPECT_EQ(shared.is_up(), false);
  shared.adopt(RouteSnapshot{});
  EXPECT_EQ(shared.is_up(), std::nullopt);
}

}  // namespace
}  // namespace banyan::gateway
