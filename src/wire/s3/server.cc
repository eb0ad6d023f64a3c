#include "wire/s3/server.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/http_date.h"
#include "base/log.h"
#include "base/percent.h"
#include "wire/s3/encoding.h"
#include "wire/s3/server_replies.h"

namespace banyan::s3 {
namespace {

constexpr std::size_t kKeyBytesMax = 1024;
constexpr std::size_t kDeletesMax = 1000;
constexpr auto kRegion = "us-east-1";

bool is_bucket_name(std::string_view name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
  return name.size() >= 3 && name.size() <= 63 && name.front() != '.' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

Wall wall_of_ms(std::int64_t ms) {
  return Wall{std::chrono::milliseconds(ms)};
}

HttpResponse object_headers(const store::ObjectInfo& info) {
  HttpResponse response;
  for (const auto& [name, value] : info.headers) response.headers.emplace_back(name, value);
  response.headers.emplace_back("etag", quote(info.etag));
  response.headers.emplace_back("last-modified", http_date(wall_of_ms(info.modified_ms)));
  response.headers.emplace_back("accept-ranges", "bytes");
  return response;
}

void override_headers(const S3Call& call, HttpResponse& response) {
  for (const std::string_view name : {"content-type", "content-disposition", "cache-control",
                                      "content-encoding", "content-language", "expires"}) {
    const std::string* value = find_header(call.query, "response-" + std::string(name));
    if (value == nullptr) continue;
    std::erase_if(response.headers, [&](const auto& header) { return header.first == name; });
    response.headers.emplace_back(name, *value);
  }
}

// Which bytes the request asks for: a Range header or one part of a multipart object.
Result<std::optional<ByteRange>> wanted_range(const S3Call& call, const store::ObjectInfo& info,
                                              HttpResponse& response) {
  if (!call.has("partNumber")) return parse_range(call.http.header("range"), info.size);
  const auto number = static_cast<std::size_t>(std::atoi(call.param("partNumber").c_str()));
  if (number < 1 || number > std::max<std::size_t>(1, info.blobs.size())) {
    return s3_failure("InvalidPart", "no such part");
  }
  if (info.etag.find('-') != std::string::npos) {
    response.headers.emplace_back("x-amz-mp-parts-count", std::to_string(info.blobs.size()));
  }
  ByteRange range;
  for (std::size_t i = 0; i + 1 < number; i++) range.first += info.blobs[i].size;
  range.count = info.blobs.empty() ? 0 : info.blobs[number - 1].size;
  return range;
}

std::string contents_of(const store::ListPage& page, bool url) {
  std::string xml;
  for (const auto& object : page.objects) {
    xml += "<Contents>" + xml_element("Key", listed(object.key, url)) +
           xml_element("LastModified", iso_date(object.modified_ms)) +
           xml_element("ETag", quote(object.etag)) +
           xml_element("Size", std::to_string(object.size)) +
           "<StorageClass>STANDARD</StorageClass></Contents>";
  }
  for (const auto& prefix : page.common_prefixes) {
    xml += "<CommonPrefixes>" + xml_element("Prefix", listed(prefix, url)) + "</CommonPrefixes>";
  }
  return xml;
}

// What does not exist here, by its subresource.
Result<HttpResponse> absent_configuration(const S3Call& call) {
  if (call.has("policy")) return s3_failure("NoSuchBucketPolicy", "there is no policy");
  if (call.has("lifecycle")) return s3_failure("NoSuchLifecycleConfiguration", "there is none");
  if (call.has("cors")) return s3_failure("NoSuchCORSConfiguration", "there is none");
  if (call.has("tagging")) return s3_failure("NoSuchTagSet", "there are no tags");
  return s3_failure("NotImplemented", "this subresource is not implemented");
}

bool names_configuration(const S3Call& call) {
  for (const std::string_view name : {"policy",
                                      "lifecycle",
                                      "cors",
                                      "tagging",
                                      "acl",
                                      "website",
                                      "encryption",
                                      "replication",
                                      "logging",
                                      "notification",
                                      "object-lock",
                                      "accelerate",
                                      "requestPayment",
                                      "legal-hold",
                                      "retention",
                                      "torrent",
                                      "select",
                                      "restore",
                                      "publicAccessBlock",
                                      "policyStatus",
                                      "ownershipControls",
                                      "analytics",
                                      "inventory",
                                      "metrics",
                                      "intelligent-tiering",
                                      "attributes"}) {
    if (call.has(name)) return true;
  }
  return false;
}

}  // namespace

std::int64_t S3Server::now_ms() const {
  return to_ms(clock_.wall().time_since_epoch());
}

HttpResponse S3Server::handle(const HttpRequest& request, BodyReader& body) {
  auto response = answer(request, body);
  if (!response) {
    if (response.error().code() == Code::kInternal ||
        response.error().code() == Code::kCorruption) {
      log_error("request failed", {{"error", response.error().message()}});
    }
    response = error_response(response.error(), request);
  }
  response->headers.emplace_back("date", http_date(clock_.wall()));
  response->headers.emplace_back("server", "banyan");
  return *std::move(response);
}

Result<HttpResponse> S3Server::answer(const HttpRequest& request, BodyReader& body) {
  TRY(auto verified,
      verifier_.verify({request.method, request.path, request.query, request.headers},
                       clock_.wall()));
  const std::string path = request.path.starts_with('/') ? request.path.substr(1) : request.path;
  const auto slash = path.find('/');
  const S3Call call{
      .http = request,
      .body = body,
      .signed_as = std::move(verified),
      .bucket = percent_decoded(path.substr(0, slash)),
      .key = slash == std::string::npos ? "" : percent_decoded(path.substr(slash + 1)),
      .query = parse_query(request.query)};
  if (call.bucket.empty()) return on_service(call);
  const bool creates = call.key.empty() && request.method == "PUT";
  TRY(const bool exists, store_.has_bucket(call.bucket));
  if (!exists && !creates) return s3_failure("NoSuchBucket", "The specified bucket does not exist");
  return call.key.empty() ? on_bucket(call) : on_object(call);
}

Result<HttpResponse> S3Server::on_service(const S3Call& call) {
  if (call.http.method != "GET") return s3_failure("MethodNotAllowed", "only GET is allowed here");
  TRY(const auto buckets, store_.buckets());
  std::string xml = "<Owner><ID>banyan</ID><DisplayName>banyan</DisplayName></Owner><Buckets>";
  for (const auto& bucket : buckets) {
    xml += "<Bucket>" + xml_element("Name", bucket.name) +
           xml_element("CreationDate", iso_date(bucket.created_ms)) + "</Bucket>";
  }
  return xml_response("ListAllMyBucketsResult", xml + "</Buckets>");
}

Result<HttpResponse> S3Server::on_bucket(const S3Call& call) {
  const std::string& method = call.http.method;
  if (names_configuration(call)) return absent_configuration(call);
  if (method == "GET") return on_bucket_get(call);
  if (method == "HEAD") {
    return HttpResponse{.headers = {{"x-amz-bucket-region", kRegion}}, .body = {}, .content = {}};
  }
  if (method == "PUT" && !call.has("versioning")) return create_bucket(call);
  if (method == "DELETE") return delete_bucket(call);
  if (method == "POST" && call.has("delete")) return delete_objects(call);
  return s3_failure("NotImplemented", "this operation is not implemented");
}

Result<HttpResponse> S3Server::on_bucket_get(const S3Call& call) {
  if (call.has("location")) return xml_response("LocationConstraint", "");
  if (call.has("versioning")) return xml_response("VersioningConfiguration", "");
  if (call.has("uploads")) return list_uploads(call);
  if (call.has("versions")) return s3_failure("NotImplemented", "there are no versions");
  return list_objects(call);
}

Result<HttpResponse> S3Server::create_bucket(const S3Call& call) {
  if (!is_bucket_name(call.bucket)) {
    return s3_failure("InvalidBucketName", "a bucket name has 3 to 63 of a-z 0-9 . - _");
  }
  TRY_VOID(read_payload(call, [](std::string_view) -> Result<void> { return {}; }));
  TRY_VOID(or_s3(store_.create_bucket(call.bucket), Code::kConflict, "BucketAlreadyOwnedByYou",
                 "the bucket exists and is yours"));
  return HttpResponse{.headers = {{"location", "/" + call.bucket}}, .body = {}, .content = {}};
}

Result<HttpResponse> S3Server::delete_bucket(const S3Call& call) {
  TRY_VOID(or_s3(store_.delete_bucket(call.bucket), Code::kConflict, "BucketNotEmpty",
                 "The bucket you tried to delete is not empty"));
  return HttpResponse{.status = 204, .headers = {}, .body = {}, .content = {}};
}

Result<HttpResponse> S3Server::list_objects(const S3Call& call) {
  const bool v2 = call.param("list-type") == "2";
  const bool url = call.param("encoding-type") == "url";
  store::ListQuery query{
      .prefix = call.param("prefix"), .delimiter = call.param("delimiter"), .after = {}};
  const std::string token = call.param("continuation-token");
  query.after = v2 ? (token.empty() ? call.param("start-after") : base64_decode(token))
                   : call.param("marker");
  if (call.has("max-keys")) {
    query.max_keys = std::clamp(std::atoi(call.param("max-keys").c_str()), 0, 1000);
  }
  TRY(const auto page, store_.list(call.bucket, query));
  std::string xml = xml_element("Name", call.bucket) +
                    xml_element("Prefix", listed(query.prefix, url)) +
                    xml_element("MaxKeys", std::to_string(query.max_keys)) +
                    xml_element("IsTruncated", page.truncated ? "true" : "false");
  if (!query.delimiter.empty()) xml += xml_element("Delimiter", listed(query.delimiter, url));
  if (url) xml += xml_element("EncodingType", "url");
  if (v2) {
    xml +=
        xml_element("KeyCount", std::to_string(page.objects.size() + page.common_prefixes.size()));
    if (!token.empty()) xml += xml_element("ContinuationToken", token);
    if (call.has("start-after")) {
      xml += xml_element("StartAfter", listed(call.param("start-after"), url));
    }
    if (page.truncated) xml += xml_element("NextContinuationToken", base64(page.last));
  } else {
    xml += xml_element("Marker", listed(query.after, url));
    if (page.truncated) xml += xml_element("NextMarker", listed(page.last, url));
  }
  return xml_response("ListBucketResult", xml + contents_of(page, url));
}

Result<HttpResponse> S3Server::delete_objects(const S3Call& call) {
  TRY(const auto document, read_document(call));
  const bool quiet = document.value("Quiet") == "true";
  std::string xml;
  std::size_t count = 0;
  for (const XmlNode& node : document.children) {
    if (node.name != "Object") continue;
    if (++count > kDeletesMax) return s3_failure("MalformedXML", "at most 1000 keys");
    const std::string key = node.value("Key");
    const auto removed = store_.remove(call.bucket, key);
    if (!removed) {
      xml += "<Error>" + xml_element("Key", key) + xml_element("Code", "InternalError") +
             xml_element("Message", "the object could not be deleted") + "</Error>";
    } else if (!quiet) {
      xml += "<Deleted>" + xml_element("Key", key) + "</Deleted>";
    }
  }
  return xml_response("DeleteResult", xml);
}

Result<HttpResponse> S3Server::on_object(const S3Call& call) {
  const std::string& method = call.http.method;
  if (call.key.size() > kKeyBytesMax) return s3_failure("KeyTooLongError", "a key has 1024 bytes");
  if (names_configuration(call)) {
    if (method == "GET" && call.has("tagging")) return xml_response("Tagging", "<TagSet></TagSet>");
    return absent_configuration(call);
  }
  if (method == "GET" && call.has("uploadId")) return list_parts(call);
  if (method == "GET" || method == "HEAD") return get_object(call);
  if (method == "PUT") return on_object_put(call);
  if (method == "DELETE") return call.has("uploadId") ? abort_upload(call) : delete_object(call);
  if (method == "POST" && call.has("uploads")) return create_upload(call);
  if (method == "POST" && call.has("uploadId")) return complete_upload(call);
  return s3_failure("NotImplemented", "this operation is not implemented");
}

Result<HttpResponse> S3Server::on_object_put(const S3Call& call) {
  const bool copies = find_header(call.http.headers, "x-amz-copy-source") != nullptr;
  if (call.has("uploadId")) return copies ? copy_part(call) : upload_part(call);
  return copies ? copy_object(call) : put_object(call);
}

Result<HttpResponse> S3Server::get_object(const S3Call& call) {
  TRY(auto object, or_s3(store_.open_object(call.bucket, call.key), Code::kNotFound, "NoSuchKey",
                         "The specified key does not exist."));
  const auto shared = std::make_shared<store::OpenObject>(std::move(object));
  const store::ObjectInfo& info = shared->info();
  const Freshness fresh = freshness(call.http, info);
  if (fresh == Freshness::kFailed) return s3_failure("PreconditionFailed", "it was replaced");
  HttpResponse response = object_headers(info);
  if (fresh == Freshness::kNotModified) {
    response.status = 304;
    return response;
  }
  override_headers(call, response);
  TRY(const auto range, wanted_range(call, info, response));
  const ByteRange bytes = range.value_or(ByteRange{.first = 0, .count = info.size});
  if (range) {
    response.status = 206;
    response.headers.emplace_back(
        "content-range",
        fmt::format("bytes {}-{}/{}", bytes.first, bytes.first + bytes.count - 1, info.size));
  }
  response.content_bytes = bytes.count;
  response.content = [shared, first = bytes.first](std::int64_t offset, std::span<char> into) {
    return shared->read(first + offset, into);
  };
  return response;
}

Result<S3Server::Received> S3Server::receive(const S3Call& call) {
  TRY(auto writer, store_.new_blob());
  Digest digest(Digest::Kind::kMd5);
  TRY_VOID(read_payload(call, [&](std::string_view bytes) -> Result<void> {
    digest.update(bytes);
    return writer.write(bytes);
  }));
  const std::string sum = digest.finish();
  TRY_VOID(check_md5(call.http, sum));
  TRY(auto blob, writer.finish());
  const std::string declared = call.http.header("x-amz-decoded-content-length");
  if (!declared.empty() && std::atoll(declared.c_str()) != blob.size) {
    return s3_failure("IncompleteBody", "the body has not the declared length");
  }
  return Received{.writer = std::move(writer), .blob = std::move(blob), .md5 = hex(sum)};
}

Result<HttpResponse> S3Server::put_object(const S3Call& call) {
  TRY(auto received, receive(call));
  const store::ObjectInfo info{.key = call.key,
                               .size = received.blob.size,
                               .etag = received.md5,
                               .modified_ms = now_ms(),
                               .headers = stored_headers(call.http),
                               .blobs = {received.blob}};
  TRY_VOID(or_s3(store_.put(call.bucket, info, write_condition(call.http)), Code::kConflict,
                 "PreconditionFailed", "the precondition does not hold"));
  received.writer.release();
  return HttpResponse{.headers = {{"etag", quote(info.etag)}}, .body = {}, .content = {}};
}

Result<store::OpenObject> S3Server::copy_source(const S3Call& call) {
  std::string source = call.http.header("x-amz-copy-source");
  source = percent_decoded(source.substr(0, source.find('?')));
  if (source.starts_with('/')) source.erase(0, 1);
  const auto slash = source.find('/');
  if (slash == std::string::npos) {
    return s3_failure("InvalidArgument", "a copy source is /bucket/key");
  }
  const std::string bucket = source.substr(0, slash);
  TRY(const bool exists, store_.has_bucket(bucket));
  if (!exists) return s3_failure("NoSuchBucket", "the bucket of the copy source does not exist");
  TRY(auto object, or_s3(store_.open_object(bucket, source.substr(slash + 1)), Code::kNotFound,
                         "NoSuchKey", "The specified key does not exist."));
  if (freshness(call.http, object.info(), "x-amz-copy-source-") != Freshness::kSend) {
    return s3_failure("PreconditionFailed", "the copy source's precondition does not hold");
  }
  return object;
}

Result<HttpResponse> S3Server::copy_object(const S3Call& call) {
  TRY(const auto source, copy_source(call));
  store::ObjectInfo info = source.info();
  info.key = call.key;
  info.modified_ms = now_ms();
  if (call.http.header("x-amz-metadata-directive") == "REPLACE") {
    info.headers = stored_headers(call.http);
  }
  TRY(info.blobs, store_.link_blobs(source.info().blobs));
  TRY_VOID(or_s3(store_.put(call.bucket, info, write_condition(call.http)), Code::kConflict,
                 "PreconditionFailed", "the precondition does not hold"));
  return xml_response("CopyObjectResult",
                      xml_element("ETag", quote(info.etag)) +
                          xml_element("LastModified", iso_date(info.modified_ms)));
}

Result<HttpResponse> S3Server::delete_object(const S3Call& call) {
  TRY_VOID(store_.remove(call.bucket, call.key));
  return HttpResponse{.status = 204, .headers = {}, .body = {}, .content = {}};
}

}  // namespace banyan::s3
