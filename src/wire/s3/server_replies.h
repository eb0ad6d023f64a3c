#pragma once
// What the S3 server's operations share: errors by their S3 code, conditions, ranges, headers.
// Errors of S3 operations are Errors whose message is "S3Code: what happened". Pure functions.

#include <optional>
#include <string>

#include "store/object_store.h"
#include "wire/s3/http_server.h"

namespace banyan::s3 {

std::unexpected<Error> s3_failure(std::string_view code, std::string_view message);
// The XML document and status of an error; unknown codes are InternalError.
HttpResponse error_response(const Error& error, const HttpRequest& request);
HttpResponse xml_response(std::string_view root, std::string_view content);

std::string quote(std::string_view etag);
std::string unquote(std::string_view etag);
// The request headers S3 keeps with an object.
store::ObjectHeaders stored_headers(const HttpRequest& request);
store::WriteCondition write_condition(const HttpRequest& request);

enum class Freshness : std::uint8_t { kSend, kNotModified, kFailed };
// If-Match and its three sisters, each with `prefix` before its name ("x-amz-copy-source-").
Freshness freshness(const HttpRequest& request, const store::ObjectInfo& info,
                    std::string_view prefix = {});

struct ByteRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};
// Nothing when the header asks for no single byte range; kInvalidArgument when it cannot be met.
Result<std::optional<ByteRange>> parse_range(std::string_view header, std::int64_t size);

}  // namespace banyan::s3
