#include "wire/http/chunked.h"

#include <gtest/gtest.h>

#include <string>

namespace banyan::http {
namespace {

using namespace std::string_view_literals;  // NOLINT(google-build-using-namespace)

std::size_t feed(ChunkedDecoder& decoder, std::string_view bytes) {
  std::optional<std::string> stripped;
  return decoder.feed(bytes, stripped);
}

TEST(ChunkedDecoder, FindsTheEndAndLeavesTheNextMessage) {
  ChunkedDecoder decoder;
  std::string payload;
  EXPECT_EQ(decoder.decode("5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\nGET /"sv, payload),
            36U);
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(payload, "hello0123456789");
}

TEST(ChunkedDecoder, ExtensionsAreStrippedHoweverTheBytesAreCut) {
  const auto bytes = "5;a=\"b;c\"\r\nhello\r\n3\r\n;;;\r\n0;last\r\nDigest: x;y\r\n\r\n"sv;
  const auto clean = "5\r\nhello\r\n3\r\n;;;\r\n0\r\nDigest: x;y\r\n\r\n"sv;
  for (std::size_t cut = 1; cut <= bytes.size(); ++cut) {
    ChunkedDecoder decoder;
    std::string all;
    for (std::size_t at = 0; at < bytes.size(); at += cut) {
      std::optional<std::string> stripped;
      const auto piece = bytes.substr(at, cut);
      EXPECT_EQ(decoder.feed(piece, stripped), piece.size());
      all += stripped ? *stripped : std::string(piece);
    }
    EXPECT_EQ(all, clean) << cut;
    EXPECT_TRUE(decoder.done() && decoder.has_extensions());
  }
}

TEST(ChunkedDecoder, NothingIsCopiedWithoutExtensions) {
  ChunkedDecoder decoder;
  std::optional<std::string> stripped;
  decoder.feed("3\r\na;b\r\n0\r\n\r\n", stripped);
  EXPECT_TRUE(decoder.done() && !decoder.has_extensions() && !stripped);
}

TEST(ChunkedDecoder, ExtensionsMayBeRefused) {
  ChunkedDecoder decoder;
  decoder.refuse_extensions();
  std::string payload;
  decoder.decode("3;x\r\nabc\r\n0\r\n\r\n", payload);
  EXPECT_TRUE(decoder.malformed() && decoder.has_extensions());
}

TEST(ChunkedDecoder, WorksAByteAtATime) {
  ChunkedDecoder decoder;
  std::string payload;
  for (char c : "3\r\nabc\r\n0\r\nDigest: x\r\n\r\n"sv) {
    EXPECT_EQ(decoder.decode(std::string_view(&c, 1), payload), 1U);
  }
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(payload, "abc");
}

TEST(ChunkedDecoder, RefusesWhatOthersMightReadDifferently) {
  for (std::string_view bytes : {"5\nhello\r\n0\r\n\r\n"sv,
                                 "5\r\nhello\n0\r\n\r\n"sv,
                                 "5\r\nhelloX0\r\n\r\n"sv,
                                 "\r\n"sv,
                                 " 5\r\nhello\r\n"sv,
                                 "5 \r\nhello\r\n"sv,
                                 "5\t;a\r\nhello\r\n"sv,
                                 "+5\r\nhello\r\n"sv,
                                 "-5\r\n"sv,
                                 "0x5\r\nhello\r\n"sv,
                                 "5_0\r\n"sv,
                                 "g\r\n"sv,
                                 ";a=b\r\n"sv,
                                 "FFFFFFFFFFFFFFFF\r\n"sv,
                                 "0000000000000005\r\nhello\r\n"sv,
                                 "5;a\nb\r\nhello\r\n"sv,
                                 "5;a\rb\r\nhello\r\n"sv,
                                 "5;\0\r\nhello\r\n"sv,
                                 "0\r\nX: y\n\r\n"sv,
                                 "0\r\n\n"sv,
                                 "0\r\n X: y\r\n\r\n"sv,
                                 "0\r\nX: y\r\n z\r\n\r\n"sv,
                                 "0\r\nX : y\r\n\r\n"sv,
                                 "0\r\nnocolon\r\n\r\n"sv,
                                 "0\r\nContent-Length: 5\r\n\r\n"sv,
                                 "0\r\nTransfer-Encoding: chunked\r\n\r\n"sv,
                                 "0\r\nHost: b\r\n\r\n"sv}) {
    ChunkedDecoder decoder;
    (void)feed(decoder, bytes);
    EXPECT_TRUE(decoder.malformed()) << bytes;
    EXPECT_EQ(feed(decoder, "0\r\n\r\n"), 0U);
  }
}

TEST(ChunkedDecoder, LimitsExtensionsAndTrailers) {
  ChunkedDecoder extension;
  (void)feed(extension, "5;" + std::string(300, 'a'));
  EXPECT_TRUE(extension.malformed());
  ChunkedDecoder trailer;
  (void)feed(trailer, "0\r\nX: " + std::string(9000, 'a'));
  EXPECT_TRUE(trailer.malformed());
}

TEST(ChunkedDecoder, CountsChunksLargerThanFourGigabytes) {
  ChunkedDecoder decoder;
  EXPECT_EQ(feed(decoder, "100000001\r\nx"), 12U);
  EXPECT_EQ(decoder.state(), ChunkedDecoder::State::kMore);
}

TEST(ChunkedDecoder, KeepsTheTrailersOfWhatItDecodes) {
  ChunkedDecoder decoder;
  std::string payload;
  for (const char c : std::string("2\r\nab\r\n0\r\nX-Sum: \t a  b \t\r\nEmpty:\r\n\r\n"))
    decoder.decode({&c, 1}, payload);
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(payload, "ab");
  EXPECT_EQ(decoder.trailers(), "x-sum: a b\r\nempty: \r\n");
}

}  // namespace
}  // namespace banyan::http
