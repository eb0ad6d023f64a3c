#include "wire/s3/signer.h"

#include <gtest/gtest.h>

#include "base/http_date.h"
#include "wire/s3/encoding.h"

// Expected signatures are the published examples of the Amazon S3 API reference.
namespace banyan::s3 {
namespace {

const Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
const Wall kThen = *parse_amz_date("20130524T000000Z");

std::string signature_of(SignableRequest request, std::string_view hash) {
  request.headers.emplace_back("host", "examplebucket.s3.amazonaws.com");
  Signer(kExample, "us-east-1").sign(request, hash, kThen);
  const std::string authorization = *find_header(request.headers, "authorization");
  return authorization.substr(authorization.find("Signature=") + 10);
}

TEST(Signer, SignsGetObject) {
  EXPECT_EQ(signature_of({"GET", "/test.txt", "", {{"range", "bytes=0-9"}}}, kEmptySha256),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(Signer, SignsPutObject) {
  const HeaderList headers{{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                           {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  EXPECT_EQ(
      signature_of({"PUT", "/test%24file.text", "", headers}, hex(sha256("Welcome to Amazon S3."))),
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(Signer, SignsSubresourceWithoutValue) {
  EXPECT_EQ(signature_of({"GET", "/", "lifecycle", {}}, kEmptySha256),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(Signer, SortsTheQuery) {
  EXPECT_EQ(signature_of({"GET", "/", "prefix=J&max-keys=2", {}}, kEmptySha256),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(Signer, Presigns) {
  const SignableRequest request{
      "GET", "/test.txt", "", {{"host", "examplebucket.s3.amazonaws.com"}}};
  const std::string query =
      Signer(kExample, "us-east-1").presign(request, kThen, std::chrono::seconds(86400));
  EXPECT_TRUE(query.ends_with(
      "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"))
      << query;
}

TEST(Signer, ChainsChunks) {
  const Scope scope{"20130524", "us-east-1", "s3"};
  const Verified seed{
      .payload_hash = std::string(kStreamingPayload),
      .date = "20130524T000000Z",
      .scope = scope.text(),
      .key = scope.key(kExample.secret_key),
      .signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"};
  const std::string first =
      chunk_signature(seed, seed.signature, hex(sha256(std::string(65536, 'a'))));
  EXPECT_EQ(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
  const std::string second = chunk_signature(seed, first, hex(sha256(std::string(1024, 'a'))));
  EXPECT_EQ(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
  EXPECT_EQ(chunk_signature(seed, second, kEmptySha256),
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
}

SignableRequest signed_request() {
  SignableRequest request{
      "GET", "/bucket/a%20key%2Bx", "uploads&prefix=a%2Fb", {{"host", "127.0.0.1:9000"}}};
  Signer(kExample, "us-east-1").sign(request, kEmptySha256, kThen);
  return request;
}

TEST(Verifier, AcceptsWhatTheSignerSigned) {
  EXPECT_TRUE(Verifier(kExample).verify(signed_request(), kThen + std::chrono::minutes(5)));
}

TEST(Verifier, RefusesAChangedPathQueryOrHeader) {
  const Verifier verifier(kExample);
  auto path = signed_request();
  path.path = "/bucket/other";
  EXPECT_FALSE(verifier.verify(path, kThen));
  auto query = signed_request();
  query.query = "uploads&prefix=a%2Fc";
  EXPECT_FALSE(verifier.verify(query, kThen));
  auto header = signed_request();
  header.headers[0].second = "127.0.0.1:9001";
  EXPECT_FALSE(verifier.verify(header, kThen));
}

TEST(Verifier, RefusesAnOldSignature) {
  const auto verified =
      Verifier(kExample).verify(signed_request(), kThen + std::chrono::minutes(16));
  ASSERT_FALSE(verified);
  EXPECT_TRUE(verified.error().message().starts_with("RequestTimeTooSkewed"));
}

TEST(Verifier, RefusesAnUnsignedRequest) {
  EXPECT_FALSE(Verifier(kExample).verify({"GET", "/", "", {{"host", "a"}}}, kThen));
}

TEST(Verifier, AcceptsAPresignedUrlUntilItExpires) {
  SignableRequest request{"GET", "/b/k", "", {{"host", "h"}}};
  request.query = Signer(kExample, "us-east-1").presign(request, kThen, std::chrono::seconds(60));
  EXPECT_TRUE(Verifier(kExample).verify(request, kThen + std::chrono::seconds(59)));
  EXPECT_FALSE(Verifier(kExample).verify(request, kThen + std::chrono::seconds(61)));
}

TEST(Encoding, DatesRoundTrip) {
  EXPECT_EQ(http_date(kThen), "Fri, 24 May 2013 00:00:00 GMT");
  EXPECT_EQ(parse_http_date(http_date(kThen)), kThen);
  EXPECT_EQ(parse_iso_date(iso_date(1369353600123)), 1369353600123);
}

TEST(Encoding, DatesBeyondTheClockAreNone) {
  EXPECT_FALSE(parse_amz_date("99991231T235959Z"));
  EXPECT_FALSE(parse_amz_date("00010101T000000Z"));
  EXPECT_TRUE(parse_amz_date("22000101T000000Z"));
}

TEST(Encoding, Base64RoundTrips) {
  for (const std::string text : {"", "a", "ab", "abc", "abcd"}) {
    EXPECT_EQ(base64_decode(base64(text)), text);
  }
}

}  // namespace
}  // namespace banyan::s3
