#pragma once
// One request to the S3 service, and how its body is read.

#include <string>
#include <string_view>
#include <utility>

#include "wire/s3/aws_chunked.h"
#include "wire/s3/http_server.h"
#include "wire/s3/server_replies.h"
#include "wire/s3/signer.h"
#include "wire/s3/xml.h"

namespace banyan::s3 {

// One request, taken apart and known to be signed by us.
struct S3Call {
  const HttpRequest& http;
  BodyReader& body;
  Verified signed_as;
  std::string bucket;  // empty: the service itself
  std::string key;     // empty: the bucket itself
  HeaderList query;

  bool has(std::string_view name) const { return find_header(query, name) != nullptr; }
  std::string param(std::string_view name) const;
};

// Passes the decoded body to `sink`, checking its payload hash or its chunks' signatures.
Result<void> read_payload(const S3Call& call, const ByteSink& sink);
// The body as a document of at most 4 MiB, its digests checked.
Result<XmlNode> read_document(const S3Call& call);
// Fails when a Content-MD5 says otherwise than `md5`, which is raw.
Result<void> check_md5(const HttpRequest& request, std::string_view md5);

// A failure with the code `when` as this one of S3; one that has its S3 code already keeps it.
template <class T>
Result<T> or_s3(Result<T> result, Code when, std::string_view s3_code, std::string_view message) {
  if (result || result.error().code() != when) return result;
  return s3_failure(s3_code, message);
}

// A key or prefix as listings show it.
std::string listed(std::string_view text, bool url);

}  // namespace banyan::s3
