#include "wire/http/http1_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "wire/http/desync.h"

namespace banyan::http {
namespace {

using namespace std::string_view_literals;  // NOLINT(google-build-using-namespace)

struct Input {
  const char* name;
  std::string_view bytes;
};

// Each of these, passed on as it is, has been read as two requests by some pair of servers.
// clang-format off
const Input kRefused[] = {
    {"length_underscore_beside_coding",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent_Length: 5\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"sv},
    {"length_beside_coding_underscore",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
     "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n"sv},
    {"length_list_comma",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5,\r\n\r\nhello"sv},
    {"two_lengths_differ",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
     "Content-Length: 6\r\n\r\nhello!"sv},
    {"length_list_differs",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5, 6\r\n\r\nhello"sv},
    {"length_plus", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: +5\r\n\r\nhello"sv},
    {"length_minus", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: -5\r\n\r\nhello"sv},
    {"length_hex", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0x5\r\n\r\nhello"sv},
    {"length_empty", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length:\r\n\r\nhello"sv},
    {"length_blank", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length:  \t \r\n\r\nhello"sv},
    {"length_inner_blank",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1 0\r\n\r\nhello"sv},
    {"length_huge",
     "POST /a HTTP/1.1\r\nHost: a.example\r\n"
     "Content-Length: 18446744073709551621\r\n\r\nhello"sv},
    {"length_letters",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: five\r\n\r\nhello"sv},
    {"length_decimal_point",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5.0\r\n\r\nhello"sv},
    {"length_quoted",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: \"5\"\r\n\r\nhello"sv},
    {"length_trailing_semicolon",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5;\r\n\r\nhello"sv},
    {"length_arabic_digit",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: \331\245\r\n\r\nhello"sv},
    {"coding_identity",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: identity\r\n\r\n"
     "hello"sv},
    {"coding_gzip_chunked",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n"
     "\r\n0\r\n\r\n"sv},
    {"coding_chunked_identity",
     "POST /a HTTP/1.1\r\nHost: a.example\r\n"
     "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"sv},
    {"coding_chunked_twice",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"sv},
    {"coding_chunked_list_twice",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, chunked\r\n"
     "\r\n0\r\n\r\n"sv},
    {"coding_then_identity",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n"
     "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"sv},
    {"coding_xchunked",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_chunked_comma",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked,\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_comma_chunked",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: ,chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_parameter",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_quoted",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_single_quoted",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: 'chunked'\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_empty",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"sv},
    {"coding_vertical_tab",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \013chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_form_feed",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\014\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_nul",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\000\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_high_byte",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\377\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_space_before_colon",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_tab_before_colon",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding\t: chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_leading_space",
     "POST /a HTTP/1.1\r\nHost: a.example\r\n Transfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_folded_value",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\r\n chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"coding_folded_name",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nX: y\r\n Transfer-Encoding: chunked\r\n"
     "\r\n0\r\n\r\n"sv},
    {"coding_after_bare_cr",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nX: y\rTransfer-Encoding: chunked\r\n"
     "\r\n0\r\n\r\n"sv},
    {"coding_after_bare_lf",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nX: y\nTransfer-Encoding: chunked\r\n"
     "\r\n0\r\n\r\n"sv},
    {"coding_in_http10",
     "POST /a HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
     "\r\n"sv},
    {"no_colon", "GET /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding chunked\r\n\r\n"sv},
    {"empty_name", "GET /a HTTP/1.1\r\nHost: a.example\r\n: chunked\r\n\r\n"sv},
    {"name_with_space", "GET /a HTTP/1.1\r\nHost: a.example\r\nX Y: z\r\n\r\n"sv},
    {"name_with_at", "GET /a HTTP/1.1\r\nHost: a.example\r\nX@Y: z\r\n\r\n"sv},
    {"name_with_nul", "GET /a HTTP/1.1\r\nHost: a.example\r\nX\000Y: z\r\n\r\n"sv},
    {"name_with_high_byte", "GET /a HTTP/1.1\r\nHost: a.example\r\nX\351: z\r\n\r\n"sv},
    {"name_with_parenthesis", "GET /a HTTP/1.1\r\nHost: a.example\r\nX(: z\r\n\r\n"sv},
    {"value_with_nul", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: a\000b\r\n\r\n"sv},
    {"value_with_escape", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: a\033b\r\n\r\n"sv},
    {"value_with_delete", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: a\177b\r\n\r\n"sv},
    {"obs_fold_tab", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: a\r\n\tb\r\n\r\n"sv},
    {"bare_lf_everywhere", "GET /a HTTP/1.1\nHost: a.example\n\n"sv},
    {"bare_lf_end", "GET /a HTTP/1.1\r\nHost: a.example\r\n\n"sv},
    {"bare_cr_end", "GET /a HTTP/1.1\r\nHost: a.example\r\n\rX"sv},
    {"blank_before_first_field", "GET /a HTTP/1.1\r\n \r\nHost: a.example\r\n\r\n"sv},
    {"no_host", "GET /a HTTP/1.1\r\nX: y\r\n\r\n"sv},
    {"two_hosts", "GET /a HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n"sv},
    {"two_equal_hosts", "GET /a HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"sv},
    {"host_empty", "GET /a HTTP/1.1\r\nHost:\r\n\r\n"sv},
    {"host_with_path", "GET /a HTTP/1.1\r\nHost: a.example/b\r\n\r\n"sv},
    {"host_list", "GET /a HTTP/1.1\r\nHost: a.example b.example\r\n\r\n"sv},
    {"host_at", "GET /a HTTP/1.1\r\nHost: a.example@b.example\r\n\r\n"sv},
    {"host_differs_from_target", "GET http://b.example/a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_userinfo", "GET http://u@a.example/a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_other_scheme", "GET ftp://a.example/a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_without_slash", "GET a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_with_space", "GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_with_tab", "GET /a\tb HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_with_nul", "GET /a\000b HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_with_high_byte", "GET /\351 HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_fragment", "GET /a#b HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"target_missing", "GET HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"asterisk_get", "GET * HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"connect", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"two_spaces", "GET  /a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"tab_after_method", "GET\t/a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"space_before_method", " GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"method_with_bracket", "G[T /a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"method_too_long",
     "GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG /a HTTP/1.1\r\nHost: a.example\r\n"
     "\r\n"sv},
    {"space_after_version", "GET /a HTTP/1.1 \r\nHost: a.example\r\n\r\n"sv},
    {"http09", "GET /a\r\n"sv},
    {"http2", "GET /a HTTP/2.0\r\nHost: a.example\r\n\r\n"sv},
    {"http12", "GET /a HTTP/1.2\r\nHost: a.example\r\n\r\n"sv},
    {"http_lower", "GET /a http/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"http_padded", "GET /a HTTP/01.1\r\nHost: a.example\r\n\r\n"sv},
    {"preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"sv},
    {"two_empty_lines_first", "\r\n\r\nGET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"expect_unknown",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 200-ok\r\n"
     "\r\nhello"sv},
};

const Input kAccepted[] = {
    {"length_beside_coding",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"sv},
    {"coding_beside_length",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n"
     "Content-Length: 4\r\n\r\n0\r\n\r\n"sv},
    {"coding_beside_zero_length",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n"
     "Content-Length: 0\r\n\r\n0\r\n\r\n"sv},
    {"two_lengths_equal",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
     "Content-Length: 5\r\n\r\nhello"sv},
    {"length_list_equal",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5, 5\r\n\r\nhello"sv},
    {"length_underscore",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent_Length: 5\r\n\r\nhello"sv},
    {"coding_underscore",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n"
     "\r\n"sv},
    {"plain_get", "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"one_empty_line_first", "\r\nGET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"post_length", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"sv},
    {"post_length_zero", "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"sv},
    {"post_length_leading_zero",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 005\r\n\r\nhello"sv},
    {"post_chunked",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
     "hello\r\n0\r\n\r\n"sv},
    {"post_chunked_case",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTRANSFER-ENCODING: ChUnKeD\r\n\r\n0\r\n"
     "\r\n"sv},
    {"post_chunked_blanks",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \t chunked \t\r\n"
     "\r\n0\r\n\r\n"sv},
    {"get_with_body", "GET /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"sv},
    {"connection_names_length",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nConnection: close, Content-Length\r\n"
     "Content-Length: 5\r\n\r\nhello"sv},
    {"connection_names_coding",
     "POST /a HTTP/1.1\r\nHost: a.example\r\n"
     "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\n"sv},
    {"connection_names_host",
     "GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close, Host\r\n\r\n"sv},
    {"absolute_form", "GET http://a.example/a?b HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"absolute_form_bare", "GET http://a.example HTTP/1.1\r\nHost: A.example\r\n\r\n"sv},
    {"asterisk_options", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
    {"http10", "GET /a HTTP/1.0\r\n\r\n"sv},
    {"http10_keep_alive",
     "GET /a HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n"sv},
    {"high_byte_value", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: caf\351\r\n\r\n"sv},
    {"empty_value", "GET /a HTTP/1.1\r\nHost: a.example\r\nX:\r\n\r\n"sv},
    {"spoofed_forwarded",
     "GET /a HTTP/1.1\r\nHost: a.example\r\nX_Forwarded_For: 6.6.6.6\r\n"
     "X-Forwarded-Proto: https\r\n\r\n"sv},
    {"proxy_fields",
     "GET /a HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\n"
     "Keep-Alive: timeout=5\r\nTE: trailers\r\n\r\n"sv},
    {"upgrade_with_body",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\n"
     "Upgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"sv},
    {"pipelined_smuggle_shape",
     "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 43\r\n\r\n"
     "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"sv},
};
// clang-format on

Parsed parse(std::string_view bytes, Head& head) {
  return parse_request(bytes, head);
}

std::unique_ptr<Head> parsed_request(std::string_view bytes) {
  auto head = std::make_unique<Head>();
  EXPECT_EQ(parse(bytes, *head).outcome, Outcome::kComplete) << bytes;
  return head;
}

TEST(Http1Parser, RefusesEveryKnownWayToSmuggle) {
  Head head;
  EXPECT_GE(std::size(kRefused), 60U);
  for (const Input& input : kRefused) {
    const Parsed parsed = parse(input.bytes, head);
    EXPECT_EQ(parsed.outcome, Outcome::kRefused) << input.name;
    EXPECT_STRNE(parsed.reason, "") << input.name;
    EXPECT_GE(parsed.status, 400) << input.name;
  }
}

TEST(Http1Parser, RefusesNoLaterWhenTheBytesComeOneByOne) {
  Head head;
  for (const Input& input : kRefused) {
    bool refused = false;
    for (std::size_t n = 1; n <= input.bytes.size() && !refused; ++n) {
      const Parsed parsed = parse(input.bytes.substr(0, n), head);
      ASSERT_NE(parsed.outcome, Outcome::kComplete) << input.name;
      refused = parsed.outcome == Outcome::kRefused;
    }
    EXPECT_TRUE(refused) << input.name;
  }
}

TEST(Http1Parser, AcceptsWhatIsUnusualButClear) {
  Head head;
  for (const Input& input : kAccepted) {
    const Parsed parsed = parse(input.bytes, head);
    EXPECT_EQ(parsed.outcome, Outcome::kComplete) << input.name << ": " << parsed.reason;
  }
}

TEST(Http1Parser, ClassesWhatItTolerates) {
  const std::pair<std::string_view, Desync> kClasses[] = {
      {"plain_get", Desync::kCompliant},
      {"post_length", Desync::kCompliant},
      {"post_chunked", Desync::kCompliant},
      {"absolute_form", Desync::kCompliant},
      {"http10", Desync::kCompliant},
      {"empty_value", Desync::kCompliant},
      {"one_empty_line_first", Desync::kAcceptable},
      {"post_length_leading_zero", Desync::kAcceptable},
      {"high_byte_value", Desync::kAcceptable},
      {"spoofed_forwarded", Desync::kAcceptable},
      {"get_with_body", Desync::kAmbiguous},
      {"connection_names_length", Desync::kAmbiguous},
      {"connection_names_coding", Desync::kAmbiguous},
      {"connection_names_host", Desync::kAmbiguous},
      {"length_beside_coding", Desync::kAmbiguous},
      {"coding_beside_zero_length", Desync::kAmbiguous},
      {"two_lengths_equal", Desync::kAmbiguous},
      {"length_list_equal", Desync::kAmbiguous},
      {"length_underscore", Desync::kAmbiguous},
      {"coding_underscore", Desync::kAmbiguous},
  };
  Head head;
  for (const auto& [name, level] : kClasses) {
    const Input* const input = std::ranges::find(kAccepted, name, &Input::name);
    ASSERT_NE(input, std::end(kAccepted)) << name;
    ASSERT_EQ(parse(input->bytes, head).outcome, Outcome::kComplete);
    EXPECT_EQ(judge(head.oddities).level, level) << name << ": " << judge(head.oddities).shape;
  }
}

TEST(Http1Parser, LetsChunksWinOverALengthAndEndsTheConnection) {
  const auto head = parsed_request(
      "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
      "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  EXPECT_EQ(head->framing, Framing::kChunked);
  EXPECT_EQ(head->content_length, 0U);
  EXPECT_FALSE(head->keep_alive);
}

TEST(Http1Parser, NeverUpgradesToAnotherHttp) {
  for (const std::string protocol : {"h2c", "H2C", "websocket, h2c", "TLS/1.0", "HTTP/2.0"}) {
    const auto head = parsed_request(
        "GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " +
        protocol + "\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n");
    EXPECT_FALSE(head->is_upgrade) << protocol;
  }
  EXPECT_TRUE(parsed_request("GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\n"
                             "Upgrade: websocket\r\n\r\n")
                  ->is_upgrade);
}

TEST(Http1Parser, NeedsAllBytesOfAHead) {
  Head head;
  for (const Input& input : kAccepted) {
    const std::size_t size = parse(input.bytes, head).size;
    for (std::size_t n = 0; n < size; ++n) {
      EXPECT_EQ(parse(input.bytes.substr(0, n), head).outcome, Outcome::kIncomplete)
          << input.name << " at " << n;
    }
  }
}

TEST(Http1Parser, ReadsTheRequestLineAndFields) {
  const auto head = parsed_request(
      "PUT /a/b?c=d HTTP/1.1\r\nHost: A.example:81\r\nX-One:  1 \r\nContent-Length: "
      "12\r\n\r\nrest");
  EXPECT_EQ(head->method, "PUT");
  EXPECT_EQ(head->path, "/a/b?c=d");
  EXPECT_EQ(head->authority, "A.example:81");
  ASSERT_NE(head->find("x-one"), nullptr);
  EXPECT_EQ(head->find("x-one")->value, "1");
  EXPECT_EQ(head->framing, Framing::kLength);
  EXPECT_EQ(head->content_length, 12U);
  EXPECT_TRUE(head->keep_alive);
}

TEST(Http1Parser, TurnsAbsoluteFormIntoOriginForm) {
  const auto head =
      parsed_request("GET http://a.example:81/x?y HTTP/1.1\r\nHost: a.example:81\r\n\r\n");
  EXPECT_EQ(head->path, "/x?y");
  EXPECT_EQ(head->authority, "a.example:81");
}

TEST(Http1Parser, LimitsNumberAndSizeOfFields) {
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 100; ++i) many += "X: y\r\n";
  Head head;
  EXPECT_EQ(parse(many + "\r\n", head).status, 431);
  const std::string large = "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(70'000, 'y');
  EXPECT_EQ(parse(large, head).outcome, Outcome::kRefused);
  EXPECT_EQ(parse(large + "\r\n\r\n", head).outcome, Outcome::kRefused);
}

TEST(Http1Parser, KeepsFramingFieldsThatConnectionNames) {
  const auto head = parsed_request(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: x-secret, content-length, host\r\n"
      "X-Secret: 1\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(head->framing, Framing::kLength);
  EXPECT_TRUE(head->find("x-secret")->hop_by_hop);
  EXPECT_FALSE(head->find("host")->hop_by_hop);
}

TEST(Http1Parser, KnowsWhoWantsToKeepTheConnection) {
  EXPECT_FALSE(parsed_request("GET / HTTP/1.0\r\n\r\n")->keep_alive);
  EXPECT_TRUE(parsed_request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")->keep_alive);
  EXPECT_FALSE(
      parsed_request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")->keep_alive);
}

TEST(Http1Parser, RecognisesAnUpgrade) {
  constexpr auto kBytes =
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
      "Upgrade: websocket\r\n\r\n"sv;
  EXPECT_TRUE(parsed_request(kBytes)->is_upgrade);
}

TEST(Http1Parser, RebasesEveryViewToTheCopiedBytes) {
  std::string bytes = "GET /a HTTP/1.1\r\nHost: h.example\r\nX: y\r\n\r\n";
  const auto head = parsed_request(bytes);
  const std::string copy = bytes;
  head->rebase(bytes.data(), copy.data());
  bytes.assign(bytes.size(), '#');
  EXPECT_EQ(head->path, "/a");
  EXPECT_EQ(head->authority, "h.example");
  EXPECT_EQ(head->find("x")->value, "y");
}

Parsed respond(std::string_view bytes, Head& head, Answers answers = Answers::kOther) {
  return parse_response(bytes, answers, head);
}

TEST(Http1Parser, DecidesHowAResponseEnds) {
  Head head;
  EXPECT_EQ(respond("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", head).outcome,
            Outcome::kComplete);
  EXPECT_EQ(head.framing, Framing::kLength);
  (void)respond("HTTP/1.1 200 OK\r\n\r\n", head);
  EXPECT_EQ(head.framing, Framing::kUntilClose);
  EXPECT_FALSE(head.keep_alive);
  (void)respond("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", head);
  EXPECT_EQ(head.framing, Framing::kChunked);
  (void)respond("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", head);
  EXPECT_EQ(head.framing, Framing::kNone);
  (void)respond("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", head, Answers::kHead);
  EXPECT_EQ(head.framing, Framing::kNone);
  EXPECT_EQ(head.content_length, 3U);
}

TEST(Http1Parser, RefusesAmbiguousResponses) {
  Head head;
  for (std::string_view bytes :
       {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"sv,
        "HTTP/1.1 2000 OK\r\n\r\n"sv, "HTTP/1.1 20x OK\r\n\r\n"sv, "HTTP/2 200 OK\r\n\r\n"sv,
        "HTTP/1.1 200 OK\nX: y\n\n"sv, "ICY 200 OK\r\n\r\n"sv, "HTTP/1.1 200 OK\r\nX : y\r\n\r\n"sv,
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"sv}) {
    EXPECT_EQ(respond(bytes, head).outcome, Outcome::kRefused) << bytes;
  }
}

TEST(Http1Parser, ForgivesARepeatedEqualLengthOfAResponse) {
  Head head;
  EXPECT_EQ(
      respond("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", head).outcome,
      Outcome::kComplete);
}

TEST(Http1Parser, IsAskedAgainOnlyWhenTheHeadMayBeComplete) {
  EXPECT_TRUE(head_may_be_complete("GET", 0));
  EXPECT_FALSE(head_may_be_complete("GET / HTTP/1.1\r\n", 3));
  EXPECT_TRUE(head_may_be_complete("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 25));
}

}  // namespace
}  // namespace banyan::http
