#include "wire/s3/server_replies.h"

#include <algorithm>
#include <array>

#include "base/percent.h"
#include "wire/s3/encoding.h"
#include "wire/s3/xml.h"

namespace banyan::s3 {
namespace {

struct KnownError {
  std::string_view code;
  int status;
};
constexpr std::array kKnownErrors = {
    KnownError{"AccessDenied", 403},
    KnownError{"AuthorizationHeaderMalformed", 400},
    KnownError{"AuthorizationQueryParametersError", 400},
    KnownError{"BadDigest", 400},
    KnownError{"BucketAlreadyOwnedByYou", 409},
    KnownError{"BucketNotEmpty", 409},
    KnownError{"EntityTooLarge", 400},
    KnownError{"EntityTooSmall", 400},
    KnownError{"IncompleteBody", 400},
    KnownError{"InvalidAccessKeyId", 403},
    KnownError{"InvalidArgument", 400},
    KnownError{"InvalidBucketName", 400},
    KnownError{"InvalidDigest", 400},
    KnownError{"InvalidPart", 400},
    KnownError{"InvalidPartOrder", 400},
    KnownError{"InvalidRange", 416},
    KnownError{"InvalidRequest", 400},
    KnownError{"KeyTooLongError", 400},
    KnownError{"MalformedXML", 400},
    KnownError{"MethodNotAllowed", 405},
    KnownError{"NoSuchBucket", 404},
    KnownError{"NoSuchBucketPolicy", 404},
    KnownError{"NoSuchCORSConfiguration", 404},
    KnownError{"NoSuchKey", 404},
    KnownError{"NoSuchLifecycleConfiguration", 404},
    KnownError{"NoSuchTagSet", 404},
    KnownError{"NoSuchUpload", 404},
    KnownError{"NotImplemented", 501},
    KnownError{"PreconditionFailed", 412},
    KnownError{"RequestTimeTooSkewed", 403},
    KnownError{"SignatureDoesNotMatch", 403},
    KnownError{"XAmzContentSHA256Mismatch", 400},
};
constexpr std::array<std::string_view, 6> kKeptHeaders = {"content-type",        "cache-control",
                                                          "content-disposition", "content-encoding",
                                                          "content-language",    "expires"};

std::optional<std::string> header_of(const HttpRequest& request, std::string_view prefix,
                                     std::string_view name) {
  const std::string* value = find_header(request.headers, std::string(prefix) + std::string(name));
  return value == nullptr ? std::nullopt : std::optional(*value);
}

// "*" or a list of quoted ETags.
bool names_etag(std::string_view list, std::string_view etag) {
  return list == "*" || unquote(list) == etag ||
         list.find("\"" + std::string(etag) + "\"") != std::string_view::npos;
}

// Whole seconds, as HTTP dates have them.
bool modified_since(const store::ObjectInfo& info, const std::string& date) {
  const auto time = parse_http_date(date);
  return !time || Wall(std::chrono::seconds(info.modified_ms / 1000)) > *time;
}

// aws-chunked is how the body travelled, not what it is.
std::string without_chunked(std::string value) {
  for (const std::string_view drop : {"aws-chunked,", ",aws-chunked", "aws-chunked"}) {
    if (const auto at = value.find(drop); at != std::string::npos) value.erase(at, drop.size());
  }
  value.erase(0, value.find_first_not_of(' '));
  return value;
}

}  // namespace

std::unexpected<Error> s3_failure(std::string_view code, std::string_view message) {
  return failure(Code::kInvalidArgument, std::string(code) + ": " + std::string(message));
}

HttpResponse error_response(const Error& error, const HttpRequest& request) {
  const std::string& text = error.message();
  const std::string code = text.substr(0, text.find(':'));
  const auto* known = std::find_if(kKnownErrors.begin(), kKnownErrors.end(),
                                   [&](const KnownError& entry) { return entry.code == code; });
  const bool is_known = known != kKnownErrors.end();
  const std::string message = is_known && text.size() > code.size() + 2
                                  ? text.substr(code.size() + 2)
                                  : std::string("the request could not be carried out");
  auto response = xml_response("Error", xml_element("Code", is_known ? code : "InternalError") +
                                            xml_element("Message", message) +
                                            xml_element("Resource", percent_decoded(request.path)) +
                                            xml_element("RequestId", "0"));
  response.status = is_known ? known->status : 500;
  return response;
}

HttpResponse xml_response(std::string_view root, std::string_view content) {
  const bool is_error = root == "Error";
  std::string body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" + std::string(root);
  body += is_error ? ">" : " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  body += std::string(content) + "</" + std::string(root) + ">";
  return {.status = 200,
          .headers = {{"content-type", "application/xml"}},
          .body = std::move(body),
          .content = {}};
}

std::string quote(std::string_view etag) {
  return "\"" + std::string(etag) + "\"";
}

std::string unquote(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"')) {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

store::ObjectHeaders stored_headers(const HttpRequest& request) {
  store::ObjectHeaders kept;
  for (const auto& [name, value] : request.headers) {
    const bool known =
        std::find(kKeptHeaders.begin(), kKeptHeaders.end(), name) != kKeptHeaders.end();
    if (!known && !name.starts_with("x-amz-meta-")) continue;
    kept[name] = name == "content-encoding" ? without_chunked(value) : value;
  }
  if (kept.contains("content-encoding") && kept["content-encoding"].empty()) {
    kept.erase("content-encoding");
  }
  kept.try_emplace("content-type", "binary/octet-stream");
  return kept;
}

store::WriteCondition write_condition(const HttpRequest& request) {
  return {.if_match = header_of(request, "", "if-match").transform(unquote),
          .if_none_match = header_of(request, "", "if-none-match").transform(unquote)};
}

Freshness freshness(const HttpRequest& request, const store::ObjectInfo& info,
                    std::string_view prefix) {
  if (const auto match = header_of(request, prefix, "if-match")) {
    if (!names_etag(*match, info.etag)) return Freshness::kFailed;
  } else if (const auto since = header_of(request, prefix, "if-unmodified-since")) {
    if (modified_since(info, *since)) return Freshness::kFailed;
  }
  if (const auto none_match = header_of(request, prefix, "if-none-match")) {
    if (names_etag(*none_match, info.etag)) return Freshness::kNotModified;
  } else if (const auto since = header_of(request, prefix, "if-modified-since")) {
    if (!modified_since(info, *since)) return Freshness::kNotModified;
  }
  return Freshness::kSend;
}

Result<std::optional<ByteRange>> parse_range(std::string_view header, std::int64_t size) {
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.size() < 19 &&
           text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (!header.starts_with("bytes=")) return std::nullopt;
  header.remove_prefix(6);
  const auto dash = header.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto from = header.substr(0, dash);
  const auto to = header.substr(dash + 1);
  if ((!from.empty() && !is_number(from)) || (!to.empty() && !is_number(to))) return std::nullopt;
  if (from.empty() && to.empty()) return std::nullopt;
  if (from.empty()) {
    const auto count = std::min<std::int64_t>(std::stoll(std::string(to)), size);
    if (count == 0) return s3_failure("InvalidRange", "the range is empty");
    return ByteRange{.first = size - count, .count = count};
  }
  const std::int64_t first = std::stoll(std::string(from));
  const std::int64_t last =
      to.empty() ? size - 1 : std::min<std::int64_t>(std::stoll(std::string(to)), size - 1);
  if (first >= size) return s3_failure("InvalidRange", "the range starts after the end");
  if (last < first) return std::nullopt;
  return ByteRange{.first = first, .count = last - first + 1};
}

}  // namespace banyan::s3
