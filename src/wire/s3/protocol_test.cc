// The pure pieces of the S3 protocol: XML, streamed bodies, conditions and ranges.
#include <gtest/gtest.h>

#include "wire/s3/aws_chunked.h"
#include "wire/s3/server_replies.h"
#include "wire/s3/xml.h"

namespace banyan::s3 {
namespace {

TEST(Xml, ReadsElementsTextAndEntities) {
  const auto root =
      parse_xml("<?xml version=\"1.0\"?>\n<!-- c --><a x=\"1\"><b>1 &lt; 2 &#x41;</b><c/></a>");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->name, "a");
  EXPECT_EQ(root->value("b"), "1 < 2 A");
  EXPECT_NE(root->child("c"), nullptr);
}

TEST(Xml, WhatIsEscapedComesBack) {
  const std::string text = "a<b>&\"'\r\n\tü";
  EXPECT_EQ(parse_xml(xml_element("k", text))->text, text);
}

TEST(Xml, RefusesTruncationDeclarationsAndDepth) {
  EXPECT_FALSE(parse_xml("<a><b></b>"));
  EXPECT_FALSE(parse_xml("<!DOCTYPE a [<!ENTITY x \"y\">]><a/>"));
  std::string deep;
  for (int i = 0; i < 1000; i++) deep += "<a>";
  EXPECT_FALSE(parse_xml(deep));
}

std::string decode(AwsChunkedDecoder& decoder, std::string_view bytes, std::size_t step) {
  std::string out;
  const ByteSink sink = [&](std::string_view piece) -> Result<void> {
    out += piece;
    return {};
  };
  for (std::size_t i = 0; i < bytes.size(); i += step) {
    if (!decoder.feed(bytes.substr(i, step), sink)) return "failed";
  }
  return out;
}

TEST(AwsChunked, DecodesHoweverItArrives) {
  const std::string body = "3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n";
  for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{5}, body.size()}) {
    AwsChunkedDecoder decoder(std::nullopt);
    EXPECT_EQ(decode(decoder, body, step), "abcdefg");
    EXPECT_TRUE(decoder.finished());
    EXPECT_EQ(decoder.trailers().size(), 1u);
  }
}

TEST(AwsChunked, RefusesNonsenseAndTruncation) {
  AwsChunkedDecoder nonsense(std::nullopt);
  EXPECT_EQ(decode(nonsense, "zz\r\nabc", 100), "failed");
  AwsChunkedDecoder cut(std::nullopt);
  EXPECT_EQ(decode(cut, "3\r\nabc\r\n", 100), "abc");
  EXPECT_FALSE(cut.finished());
}

TEST(Range, CoversTheFormsOfTheHeader) {
  EXPECT_EQ(parse_range("bytes=2-4", 10).value()->count, 3);
  EXPECT_EQ(parse_range("bytes=8-", 10).value()->count, 2);
  EXPECT_EQ(parse_range("bytes=-3", 10).value()->first, 7);
  EXPECT_EQ(parse_range("bytes=5-99", 10).value()->count, 5);
  EXPECT_FALSE(parse_range("bytes=10-", 10));
  EXPECT_FALSE(parse_range("bytes=x-1", 10).value());
  EXPECT_FALSE(parse_range("", 10).value());
}

TEST(Freshness, FollowsTheConditions) {
  const store::ObjectInfo info{
      .key = {}, .size = 0, .etag = "e", .modified_ms = 1369353600123, .headers = {}, .blobs = {}};
  const auto asked = [&](std::string name, std::string value) {
    const HttpRequest request{
        .method = {}, .path = {}, .query = {}, .headers = {{std::move(name), std::move(value)}}};
    return freshness(request, info);
  };
  EXPECT_EQ(asked("if-match", "\"e\""), Freshness::kSend);
  EXPECT_EQ(asked("if-match", "\"f\""), Freshness::kFailed);
  EXPECT_EQ(asked("if-none-match", "\"f\", \"e\""), Freshness::kNotModified);
  EXPECT_EQ(asked("if-modified-since", "Fri, 24 May 2013 00:00:00 GMT"), Freshness::kNotModified);
  EXPECT_EQ(asked("if-unmodified-since", "Thu, 23 May 2013 00:00:00 GMT"), Freshness::kFailed);
}

}  // namespace
}  // namespace banyan::s3
