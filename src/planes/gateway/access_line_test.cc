#include "planes/gateway/access_line.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace banyan::gateway {
namespace {

std::string line_of(const AccessEntry& entry, const std::vector<std::string>& fields = {}) {
  SimClock clock;
  AccessLine format(clock);
  format.set_fields(*AccessLine::parse_fields(fields));
  std::string out;
  format.append(out, entry);
  return out;
}

TEST(AccessLine, LeavesTheQueryOutUnlessAsked) {
  const AccessEntry entry{.target = "/a?x=1", .status = 200};
  EXPECT_EQ(line_of(entry).find("x=1"), std::string::npos);
  EXPECT_NE(line_of(entry, {"query"}).find("\"query\":\"x=1\""), std::string::npos);
}

TEST(AccessLine, StrikesOutWhatLooksSecret) {
  std::string out;
  append_redacted_query(out,
                        "q=tea&access_token=abc&API_KEY=1&Password=x&reset%5ftoken=y&flag&code");
  EXPECT_EQ(out, "q=tea&access_token=***&API_KEY=***&Password=***&reset%5ftoken=***&flag&code***");
}

TEST(AccessLine, SaysOnlyTheFieldsAskedFor) {
  const auto line =
      nlohmann::json::parse(line_of({.client = "192.0.2.1", .status = 204}, {"status"}));
  EXPECT_EQ(line.size(), 2u);  // and the time
  EXPECT_EQ(line["status"], 204);
  EXPECT_FALSE(AccessLine::parse_fields({"cookie"}));
}

TEST(AccessLine, NamesTheClassOfAnOddRequestOnly) {
  EXPECT_EQ(line_of({.status = 200}).find("desync"), std::string::npos);
  const auto line = nlohmann::json::parse(
      line_of({.desync = {http::Desync::kAmbiguous, "repeated content-length"}, .status = 200}));
  EXPECT_EQ(line["desync"], "ambiguous");
  EXPECT_EQ(line["desync_shape"], "repeated content-length");
}

TEST(AccessLine, IsJsonWhateverTheClientSent) {
  const auto line =
      nlohmann::json::parse(line_of({.host = "\"\\\n", .target = "/\x01\xff?\"=\xfe", .id = "a-1"},
                                    {"host", "path", "query", "id"}));
  EXPECT_EQ(line["id"], "a-1");
}

}  // namespace
}  // namespace banyan::gateway
