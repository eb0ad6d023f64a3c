#include "planes/gateway/http2_text.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

std::string text(const std::vector<h2::Field>& fields, h2::Ends ends = h2::Ends::kYes) {
  return http1_text({.fields = fields, .ends = ends, .too_large = false});
}

TEST(Http2Text, AHeadBecomesLinesWithItsAuthorityAsHost) {
  EXPECT_EQ(
      text({{":method", "GET"}, {":path", "/a"}, {":authority", "b"}, {"host", "B"}, {"x", "1"}}),
      "GET /a HTTP/1.1\r\nhost: b\r\nx: 1\r\n\r\n");
  EXPECT_EQ(text({{":method", "GET"}, {":path", "/a"}, {":authority", "b"}, {"host", "c"}}), "");
  EXPECT_EQ(text({{":method", "CONNECT"}, {":authority", "b:1"}}), "");
}

TEST(Http2Text, CrumbsOfCookiesAreOneField) {
  EXPECT_EQ(
      text({{":method", "GET"}, {":path", "/"}, {"cookie", "a=1"}, {"x", "1"}, {"cookie", "b=2"}}),
      "GET / HTTP/1.1\r\nx: 1\r\ncookie: a=1; b=2\r\n\r\n");
}

TEST(Http2Text, ABodyOfUnknownLengthIsChunked) {
  const std::vector<h2::Field> fields = {{":method", "PUT"}, {":path", "/"}};
  EXPECT_EQ(text(fields, h2::Ends::kNo), "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
  EXPECT_EQ(text({{":method", "PUT"}, {":path", "/"}, {"content-length", "3"}}, h2::Ends::kNo),
            "PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\n");
}

TEST(Http2Text, AnExtendedConnectIsAnUpgrade) {
  const std::string got =
      text({{":method", "CONNECT"}, {":protocol", "websocket"}, {":path", "/"}});
  EXPECT_EQ(text({{":method", "CONNECT"},
                  {":protocol", "websocket"},
                  {":path", "/"},
                  {"content-length", "5"}}),
            "")
      << "a tunnel has no body";
  EXPECT_TRUE(got.starts_with("GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"));
}

TEST(Http2Text, NoTrailerIsTakenForFraming) {
  std::string out;
  const h2::Field sum{"x-sum", "42"};
  EXPECT_TRUE(append_trailers(out, {&sum, 1}));
  EXPECT_EQ(out, "x-sum: 42\r\n");
  const h2::Field both[] = {sum, {"content-length", "9"}};
  EXPECT_FALSE(append_trailers(out, both));
  EXPECT_EQ(out, "x-sum: 42\r\n");
}

}  // namespace
}  // namespace banyan::gateway
