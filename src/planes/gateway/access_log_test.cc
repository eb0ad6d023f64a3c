#include "planes/gateway/access_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace banyan::gateway {
namespace {

class AccessLogTest : public testing::Test {
 protected:
  ~AccessLogTest() override { std::filesystem::remove(path); }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
  }

  SimClock clock;
  std::string path = testing::TempDir() + "access_log_test." + std::to_string(::getpid());
};

TEST_F(AccessLogTest, WritesOneJsonLinePerRequestWithoutTheQuery) {
  auto log = AccessLog::create(path, clock);
  ASSERT_TRUE(log);
  (*log)->line({.client = "192.0.2.1",
                .method = "GET",
                .host = "h",
                .target = "/a\"\xe9?token=1",
                .route = "r1",
                .upstream = "127.0.0.1:1",
                .trace = "ab",
                .status = 200,
                .bytes_in = 1,
                .bytes_out = 2,
                .took = 3ms,
                .held = 4ms});
  EXPECT_EQ(text(), "");
  (*log)->flush();
  const auto line = nlohmann::json::parse(text());
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["path"], "/a\"\u00e9");
  EXPECT_EQ(line["us"], 3000);
  EXPECT_EQ(line["held_us"], 4000);
  EXPECT_EQ(line["ts"], rfc3339(clock.wall()));
}

TEST_F(AccessLogTest, FlushesByItselfAndFollowsARename) {
  auto log = AccessLog::create(path, clock);
  ASSERT_TRUE(log);
  for (int i = 0; i < 3000; ++i) (*log)->line({.method = "GET", .target = "/abcdefghij"});
  EXPECT_NE(text(), "");
  std::filesystem::remove(path);
  ASSERT_TRUE((*log)->reopen());
  (*log)->line({.method = "GET", .target = "/after"});
  (*log)->flush();
  EXPECT_NE(text().find("/after"), std::string::npos);
}

TEST_F(AccessLogTest, SaysWhyItCannotOpen) {
  const auto log = AccessLog::create("/nonexistent/x", clock);
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace banyan::gateway
