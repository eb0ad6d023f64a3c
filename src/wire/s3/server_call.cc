#include "wire/s3/server_call.h"

#include "base/hex.h"
#include "wire/s3/encoding.h"

namespace banyan::s3 {
namespace {

constexpr std::size_t kDocumentBytesMax = 4 << 20;
constexpr std::size_t kChunk = 256 * 1024;

}  // namespace

std::string S3Call::param(std::string_view name) const {
  const std::string* value = find_header(query, name);
  return value == nullptr ? std::string() : *value;
}

Result<void> read_payload(const S3Call& call, const ByteSink& sink) {
  const std::string& hash = call.signed_as.payload_hash;
  const bool chunked = hash.starts_with("STREAMING-");
  const bool signed_chunks = hash.starts_with(kStreamingPayload);
  AwsChunkedDecoder decoder(signed_chunks ? std::optional(call.signed_as) : std::nullopt);
  Digest digest(Digest::Kind::kSha256);
  const bool hashed = !chunked && hash != kUnsignedPayload;
  std::string buffer(kChunk, '\0');
  while (true) {
    const auto got = call.body.read(buffer);
    if (!got) return s3_failure("IncompleteBody", "the body ended early");
    if (*got == 0) break;
    const auto bytes = std::string_view(buffer).substr(0, *got);
    if (hashed) digest.update(bytes);
    TRY_VOID(chunked ? decoder.feed(bytes, sink) : sink(bytes));
  }
  if (chunked && !decoder.finished())
    return s3_failure("IncompleteBody", "the last chunk is missing");
  if (hashed && hex(digest.finish()) != hash) {
    return s3_failure("XAmzContentSHA256Mismatch", "the body is not what was signed");
  }
  return {};
}

Result<void> check_md5(const HttpRequest& request, std::string_view md5) {
  const std::string* given = find_header(request.headers, "content-md5");
  if (given == nullptr) return {};
  const std::string wanted = base64_decode(*given);
  if (wanted.size() != 16) return s3_failure("InvalidDigest", "Content-MD5 is malformed");
  if (wanted != md5) return s3_failure("BadDigest", "the body does not match Content-MD5");
  return {};
}

Result<XmlNode> read_document(const S3Call& call) {
  std::string text;
  TRY_VOID(read_payload(call, [&](std::string_view bytes) -> Result<void> {
    if (text.size() + bytes.size() > kDocumentBytesMax) {
      return s3_failure("EntityTooLarge", "the document is too large");
    }
    text += bytes;
    return {};
  }));
  TRY_VOID(check_md5(call.http, md5(text)));
  auto document = parse_xml(text);
  if (!document) return s3_failure("MalformedXML", document.error().message());
  return document;
}

std::string listed(std::string_view text, bool url) {
  return url ? uri_encode(text, Slash::kKeep) : std::string(text);
}

}  // namespace banyan::s3
