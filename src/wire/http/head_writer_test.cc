#include "wire/http/head_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace banyan::http {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string upstream(std::string_view bytes, UpstreamRewrite rewrite = {}) {
  auto head = std::make_unique<Head>();
  EXPECT_EQ(parse_request(bytes, *head).outcome, Outcome::kComplete);
  IdSource ids(7);
  const TraceContext trace = trace_for(*head, ids);
  rewrite.trace = &trace;
  rewrite.client_ip = "192.0.2.1";
  std::string out(upstream_head_bytes_max(*head, rewrite), '\0');
  out.resize(write_upstream_head(*head, rewrite, out.data()));
  return out;
}

std::string client(std::string_view bytes, ClientRewrite rewrite = {},
                   Answers answers = Answers::kOther) {
  auto head = std::make_unique<Head>();
  EXPECT_EQ(parse_response(bytes, answers, *head).outcome, Outcome::kComplete);
  std::string out(client_head_bytes_max(*head, rewrite), '\0');
  out.resize(write_client_head(*head, rewrite, out.data()));
  return out;
}

TEST(HeadWriter, DropsHopByHopFieldsAndKeepsTheRest) {
  const std::string out = upstream(
      "GET /a HTTP/1.1\r\nHost: a\r\nAccept: x\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n"
      "Keep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: z\r\nCookie: c=d\r\n\r\n");
  EXPECT_THAT(out, StartsWith("GET /a HTTP/1.1\r\nhost: a\r\nAccept: x\r\nCookie: c=d\r\n"));
  for (const char* gone : {"X-Hop", "Keep-Alive", "TE:", "Proxy-", "Connection", "close"}) {
    EXPECT_THAT(out, Not(HasSubstr(gone)));
  }
}

TEST(HeadWriter, CountsHowOftenTraceAndOptionsAreForwarded) {
  const auto forwarded = [](std::string_view method, std::string_view times) {
    return upstream(std::string(method) +
                    " / HTTP/1.1\r\nHost: a\r\nMax-Forwards:" + std::string(times) + "\r\n\r\n");
  };
  EXPECT_THAT(forwarded("OPTIONS", "1"), HasSubstr("max-forwards: 0\r\n"));
  EXPECT_THAT(forwarded("TRACE", "100"), HasSubstr("max-forwards: 99\r\n"));
  EXPECT_THAT(forwarded("OPTIONS", "100"), Not(HasSubstr("Max-Forwards")));
  EXPECT_THAT(forwarded("GET", "1"), HasSubstr("Max-Forwards:1\r\n")) << "says nothing there";
  EXPECT_THAT(forwarded("TRACE", "99999999999"), HasSubstr("Max-Forwards:99999999999\r\n"));
  EXPECT_THAT(forwarded("TRACE", "-1"), HasSubstr("Max-Forwards:-1\r\n"));
}

TEST(HeadWriter, SaysWhoTheClientIs) {
  const std::string out = upstream(
      "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"
      "X-Forwarded-Proto: https\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n");
  EXPECT_THAT(out, HasSubstr("x-forwarded-for: 1.1.1.1, 2.2.2.2, 192.0.2.1\r\n"));
  EXPECT_THAT(out, HasSubstr("x-forwarded-proto: http\r\n"));
  EXPECT_THAT(out, HasSubstr("x-forwarded-host: a\r\n"));
  EXPECT_THAT(out, HasSubstr("via: 1.1 banyan\r\n"));
  EXPECT_THAT(out, Not(HasSubstr("6.6.6.6")));
}

TEST(HeadWriter, KeepsForwardedFieldsOfATrustedPeer) {
  const std::string out = upstream("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
                                   {.trust_forwarded = Trust::kYes});
  EXPECT_THAT(out, HasSubstr("X-Forwarded-Proto: https\r\n"));
  EXPECT_THAT(out, Not(HasSubstr("x-forwarded-proto: http\r\n")));
}

TEST(HeadWriter, ContinuesAValidTraceOnly) {
  constexpr std::string_view kTrace = "0af7651916cd43dd8448eb211c80319c";
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-";
  EXPECT_THAT(upstream(head + std::string(kTrace) + "-b7ad6b7169203331-00\r\n\r\n"),
              HasSubstr(std::string("traceparent: 00-") + std::string(kTrace)));
  EXPECT_THAT(upstream(head + std::string(32, '0') + "-b7ad6b7169203331-00\r\n\r\n"),
              Not(HasSubstr(std::string(32, '0'))));
}

TEST(HeadWriter, KeepsASoundRequestIdAndReplacesAnOddOne) {
  EXPECT_THAT(upstream("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n"),
              HasSubstr("x-request-id: abc-1\r\n"));
  EXPECT_THAT(upstream("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n"),
              Not(HasSubstr("a b")));
}

TEST(HeadWriter, WritesFramingFromTheDecision) {
  EXPECT_THAT(upstream("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\n"),
              HasSubstr("content-length: 5\r\n"));
  EXPECT_THAT(upstream("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ChunkED\r\n\r\n"),
              HasSubstr("transfer-encoding: chunked\r\n"));
  EXPECT_THAT(upstream("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Not(HasSubstr("content-length")));
}

TEST(HeadWriter, ForwardsAnUpgradeAndAnExpectation) {
  EXPECT_THAT(
      upstream("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
      HasSubstr("connection: upgrade\r\nupgrade: websocket\r\n"));
  EXPECT_THAT(
      upstream("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
               {.expect = Expect::kForward}),
      HasSubstr("expect: 100-continue\r\n"));
}

TEST(HeadWriter, ReplacesTheHost) {
  EXPECT_THAT(
      upstream("GET / HTTP/1.1\r\nHost: a\r\n\r\n", {.host = "docs.example"}),
      testing::AllOf(HasSubstr("host: docs.example\r\n"), HasSubstr("x-forwarded-host: a\r\n")));
}

TEST(HeadWriter, GivesTheClientItsOwnConnectionFields) {
  const std::string out = client(
      "HTTP/1.1 200 Fine\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nContent-Length: 3\r\nA: "
      "b\r\n\r\n",
      {.persist = Persist::kClose});
  EXPECT_EQ(out,
            "HTTP/1.1 200 Fine\r\nA: b\r\ncontent-length: 3\r\nvia: 1.1 banyan\r\nconnection: "
            "close\r\n\r\n");
}

TEST(HeadWriter, DatesWhatHasNoDate) {
  const std::string now = "Fri, 20 Nov 2026 21:30:00 GMT";
  EXPECT_THAT(client("HTTP/1.1 204 No\r\n\r\n", {.date = now}),
              HasSubstr("\r\ndate: " + now + "\r\n"));
  EXPECT_THAT(client("HTTP/1.1 103 Hints\r\n\r\n", {.date = now}), Not(HasSubstr("date")));
  EXPECT_THAT(own_reply({.date = now}), HasSubstr("\r\ndate: " + now + "\r\n"));
}

TEST(HeadWriter, NeverShowsACodingToAnHttp10Client) {
  const std::string out = client("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                                 {.persist = Persist::kClose, .client_minor_version = 0});
  EXPECT_THAT(out, Not(HasSubstr("chunked")));
}

TEST(HeadWriter, KeepsTheLengthOfAResponseToHead) {
  EXPECT_THAT(client("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", {}, Answers::kHead),
              HasSubstr("content-length: 99\r\n"));
  EXPECT_THAT(client("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
              HasSubstr("content-length: 99\r\n"));
}

TEST(HeadWriter, PassesASwitchOfProtocolsOn) {
  EXPECT_THAT(
      client(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
      HasSubstr("connection: upgrade\r\nupgrade: websocket\r\n"));
}

TEST(HeadWriter, OwnRepliesAreComplete) {
  const std::string out = own_reply({.status = 503, .body = "wait\n", .retry_after_s = 3});
  EXPECT_THAT(out, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(out, HasSubstr("content-length: 5\r\n"));
  EXPECT_THAT(out, HasSubstr("retry-after: 3\r\n"));
  EXPECT_THAT(out, testing::EndsWith("\r\n\r\nwait\n"));
  EXPECT_THAT(own_reply({.body = "x", .answers = Answers::kHead}), testing::EndsWith("\r\n\r\n"));
}

}  // namespace
}  // namespace banyan::http
