#include "planes/gateway/body.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

BodyFollower following(http::Framing framing, std::uint64_t length = 0) {
  http::Head head;
  head.framing = framing;
  head.content_length = length;
  return BodyFollower(head);
}

TEST(BodyFollower, NoBodyIsDoneAndTakesNothing) {
  BodyFollower body = following(http::Framing::kNone);
  EXPECT_TRUE(body.done());
  EXPECT_EQ(body.pass("GET / HTTP/1.1").taken, 0u);
}

TEST(BodyFollower, ALengthLeavesTheNextMessageAlone) {
  BodyFollower body = following(http::Framing::kLength, 5);
  EXPECT_EQ(body.pass("abc").taken, 3u);
  EXPECT_FALSE(body.done());
  EXPECT_EQ(body.pass("deGET").taken, 2u);
  EXPECT_TRUE(body.done());
  EXPECT_EQ(body.bytes(), 5u);
}

TEST(BodyFollower, AChunkedBodyEndsAtItsLastChunk) {
  BodyFollower body = following(http::Framing::kChunked);
  EXPECT_EQ(body.pass("3\r\nabc\r\n0\r\n\r\nGET").taken, 13u);
  EXPECT_TRUE(body.done());
}

TEST(BodyFollower, ExtensionsAreCountedAndNotPassedOn) {
  BodyFollower body = following(http::Framing::kChunked);
  EXPECT_EQ(body.pass("3;a=b\r\nabc\r\n0").body, "3\r\nabc\r\n0");
  EXPECT_EQ(body.pass(";c").body, "");
  EXPECT_EQ(body.pass("\r\n\r\n").body, "\r\n\r\n");
  EXPECT_EQ(body.bytes(), 19u);
  EXPECT_TRUE(body.done() && body.has_extensions());
}

TEST(BodyFollower, AMalformedChunkIsNoticed) {
  BodyFollower body = following(http::Framing::kChunked);
  body.pass("xyz\r\n");
  EXPECT_TRUE(body.malformed());
  EXPECT_FALSE(body.done());
}

TEST(BodyFollower, OnlyABodyUntilCloseEndsAtTheClose) {
  EXPECT_FALSE(following(http::Framing::kLength, 5).finish_at_close());
  EXPECT_FALSE(following(http::Framing::kChunked).finish_at_close());
  EXPECT_TRUE(following(http::Framing::kUntilClose).finish_at_close());
}

std::string written(BodyWriter& writer, const BodyPart& part) {
  const BodyWriter::Pieces pieces = writer.write(part);
  return std::string(pieces.first) + std::string(pieces.second);
}

TEST(BodyWriter, PassesBytesOnAsTheyAre) {
  BodyWriter writer;
  writer.begin(BodyWriter::Mode::kPass);
  EXPECT_EQ(written(writer, {.bytes = "abc", .last = true, .trailers = {}}), "abc");
}

TEST(BodyWriter, PlainBytesBecomeChunksWithTrailers) {
  BodyWriter writer;
  writer.begin(BodyWriter::Mode::kEncode);
  std::string all = written(writer, {.bytes = "abc", .last = false, .trailers = {}});
  all += written(writer, {.bytes = "0123456789abcdef", .last = false, .trailers = {}});
  all += written(writer, {.bytes = {}, .last = true, .trailers = "sum: 1\r\n"});
  EXPECT_EQ(all, "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nsum: 1\r\n\r\n");
  writer.begin(BodyWriter::Mode::kEncode);
  EXPECT_EQ(written(writer, {.bytes = "x", .last = true, .trailers = {}}), "1\r\nx\r\n0\r\n\r\n");
  writer.begin(BodyWriter::Mode::kEncode);
  EXPECT_EQ(written(writer, {.bytes = {}, .last = true, .trailers = {}}), "0\r\n\r\n");
}

TEST(BodyWriter, ChunksBecomePlainBytes) {
  BodyWriter writer;
  writer.begin(BodyWriter::Mode::kDecode);
  EXPECT_EQ(written(writer, {.bytes = "3\r\nab", .last = false, .trailers = {}}), "ab");
  EXPECT_EQ(written(writer, {.bytes = "c\r\n0\r\n\r\n", .last = true, .trailers = {}}), "c");
}

}  // namespace
}  // namespace banyan::gateway
