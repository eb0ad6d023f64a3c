#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "wire/rpc/client.h"
#include "wire/rpc/server.h"

namespace banyan::rpc {
namespace {

using nlohmann::json;

std::string socket_path() {
  return std::filesystem::temp_directory_path() /
         ("rpc-test-" + std::to_string(getpid()) + ".sock");
}

TEST(Rpc, AnswersAreCarriedBack) {
  Server server;
  server.on("echo", [](const json& in) -> Result<json> { return json{{"got", in["value"]}}; });
  ASSERT_TRUE(server.listen(socket_path()));
  const auto out = Client("tester", socket_path()).call("echo", {{"value", 7}});
  ASSERT_TRUE(out) << out.error().message();
  EXPECT_EQ((*out)["got"], 7);
}

TEST(Rpc, ErrorsKeepTheirCodeAndRemedy) {
  Server server;
  server.on("fail", [](const json&) -> Result<json> {
    return std::unexpected(Error(Code::kConflict, "no").with_remedy("try x"));
  });
  ASSERT_TRUE(server.listen(socket_path()));
  const auto out = Client("tester", socket_path()).call("fail");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code(), Code::kConflict);
  EXPECT_EQ(out.error().remedy(), "try x");
}

TEST(Rpc, AMalformedCallIsRefusedAndTheServerGoesOn) {
  Server server;
  server.on("need", [](const json& in) -> Result<json> { return in.at("missing"); });
  ASSERT_TRUE(server.listen(socket_path()));
  const Client client("tester", socket_path());
  EXPECT_EQ(client.call("need").error().code(), Code::kInvalidArgument);
  EXPECT_TRUE(client.call("need", {{"missing", 1}}));
}

TEST(Rpc, NobodyListeningIsUnavailableAndSafeToRetry) {
  const auto out = Client("gateway", "/nonexistent/sock").call("status");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code(), Code::kUnavailable);
  EXPECT_EQ(out.error().retry(), Retry::kSafe);
}

}  // namespace
}  // namespace banyan::rpc
