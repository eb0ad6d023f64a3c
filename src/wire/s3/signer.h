#pragma once
// AWS Signature Version 4: signing requests (headers or presigned URL) and verifying them.
//
// The canonical form is rebuilt from what is on the wire: the path and the query are decoded and
// encoded again by one rule, header names are sorted by name alone, values trimmed. Values; pure.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace banyan::s3 {

struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty unless temporary
};

// Names in lower case, in the order sent.
using HeaderList = std::vector<std::pair<std::string, std::string>>;
const std::string* find_header(const HeaderList& headers, std::string_view name);

struct SignableRequest {
  std::string method;
  std::string path;   // as on the wire, percent-encoded, with the leading '/'
  std::string query;  // as on the wire, without '?'
  HeaderList headers;
};

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view kStreamingPayload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
inline constexpr std::string_view kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// "20130524/us-east-1/s3/aws4_request" and the key that signs within it.
struct Scope {
  std::string date;
  std::string region;
  std::string service;
  std::string text() const { return date + "/" + region + "/" + service + "/aws4_request"; }
  std::string key(std::string_view secret) const;
};

class Signer {
 public:
  Signer(Credentials credentials, std::string region, std::string service = "s3")
      : credentials_(std::move(credentials)),
        region_(std::move(region)),
        service_(std::move(service)) {}
  // Adds x-amz-date, x-amz-content-sha256 and authorization. Every header present is signed, so
  // `host` must be among them.
  void sign(SignableRequest& request, std::string_view payload_hash, Wall now) const;
  // The query string that allows `request` (with its host header) until now + valid.
  std::string presign(const SignableRequest& request, Wall now, std::chrono::seconds valid) const;

 private:
  Scope scope(Wall now) const;

  Credentials credentials_;
  std::string region_;
  std::string service_;
};

// What a verified request was signed with; chunks of a streamed body continue from it.
struct Verified {
  std::string payload_hash;  // x-amz-content-sha256
  std::string date;
  std::string scope;
  std::string key;
  std::string signature;
};

class Verifier {
 public:
  explicit Verifier(Credentials credentials) : credentials_(std::move(credentials)) {}
  // kPermission, with an S3 error code before the colon ("SignatureDoesNotMatch: ...").
  Result<Verified> verify(const SignableRequest& request, Wall now) const;

 private:
  struct Claim;
  Result<Claim> claim_of_header(const SignableRequest& request) const;
  Result<Claim> claim_of_query(const SignableRequest& request) const;
  Result<void> check_time(const Claim& claim, Wall now) const;

  Credentials credentials_;
};

// The signature of one chunk of an aws-chunked body.
std::string chunk_signature(const Verified& seed, std::string_view previous,
                            std::string_view chunk_sha256_hex);
std::string trailer_signature(const Verified& seed, std::string_view previous,
                              std::string_view trailer_sha256_hex);

// Name and value pairs of a raw query, decoded, in order.
HeaderList parse_query(std::string_view query);

}  // namespace banyan::s3
