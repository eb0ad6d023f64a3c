// Multipart uploads of the S3 service.
#include <algorithm>

#include "wire/s3/encoding.h"
#include "wire/s3/server.h"

namespace banyan::s3 {
namespace {

constexpr std::size_t kChunk = 256 * 1024;

// The parts a CompleteMultipartUpload chose, matched with those that exist.
Result<std::vector<store::PartInfo>> chosen_parts(const XmlNode& document,
                                                  const std::vector<store::PartInfo>& existing) {
  std::vector<store::PartInfo> chosen;
  for (const XmlNode& node : document.children) {
    if (node.name != "Part") continue;
    const int number = std::atoi(node.value("PartNumber").c_str());
    const std::string etag = unquote(node.value("ETag"));
    if (!chosen.empty() && chosen.back().number >= number) {
      return s3_failure("InvalidPartOrder", "the parts are not in ascending order");
    }
    const auto part = std::find_if(existing.begin(), existing.end(),
                                   [&](const auto& other) { return other.number == number; });
    if (part == existing.end() || part->etag != etag) {
      return s3_failure("InvalidPart", "part " + std::to_string(number) + " was not uploaded");
    }
    chosen.push_back(*part);
  }
  if (chosen.empty()) return s3_failure("MalformedXML", "no parts are named");
  return chosen;
}

Result<void> check_part_sizes(const std::vector<store::PartInfo>& parts) {
  constexpr std::int64_t kPartBytesMin = 5 << 20;
  for (std::size_t i = 0; i + 1 < parts.size(); i++) {
    if (parts[i].blob.size < kPartBytesMin) {
      return s3_failure("EntityTooSmall", "every part but the last must have 5 MiB or more");
    }
  }
  return {};
}

std::string multipart_etag(const std::vector<store::PartInfo>& parts) {
  std::string digests;
  for (const auto& part : parts) digests += unhex(part.etag);
  return hex(md5(digests)) + "-" + std::to_string(parts.size());
}

}  // namespace

Result<HttpResponse> S3Server::create_upload(const S3Call& call) {
  TRY(const std::string id, store_.create_upload(call.bucket, call.key, stored_headers(call.http)));
  return xml_response("InitiateMultipartUploadResult", xml_element("Bucket", call.bucket) +
                                                           xml_element("Key", call.key) +
                                                           xml_element("UploadId", id));
}

Result<HttpResponse> S3Server::upload_part(const S3Call& call) {
  const int number = std::atoi(call.param("partNumber").c_str());
  if (number < 1 || number > 10'000) {
    return s3_failure("InvalidArgument", "a part number is 1 to 10000");
  }
  TRY(auto received, receive(call));
  const store::PartInfo part{
      .number = number, .etag = received.md5, .blob = received.blob, .modified_ms = now_ms()};
  TRY_VOID(or_s3(store_.put_part(call.param("uploadId"), part), Code::kNotFound, "NoSuchUpload",
                 "the upload does not exist; it may have been completed or aborted"));
  received.writer.release();
  return HttpResponse{.headers = {{"etag", quote(part.etag)}}, .body = {}, .content = {}};
}

Result<HttpResponse> S3Server::copy_part(const S3Call& call) {
  TRY(const auto source, copy_source(call));
  const std::string asked = call.http.header("x-amz-copy-source-range");
  TRY(const auto range, parse_range(asked, source.info().size));
  const ByteRange bytes = range.value_or(ByteRange{.first = 0, .count = source.info().size});
  TRY(auto writer, store_.new_blob());
  Digest digest(Digest::Kind::kMd5);
  std::string buffer(kChunk, '\0');
  for (std::int64_t done = 0; done < bytes.count;) {
    const auto most = std::min<std::int64_t>(kChunk, bytes.count - done);
    TRY(const auto got,
        source.read(bytes.first + done, std::span(buffer).first(static_cast<std::size_t>(most))));
    const auto chunk = std::string_view(buffer).substr(0, got);
    digest.update(chunk);
    TRY_VOID(writer.write(chunk));
    done += static_cast<std::int64_t>(got);
  }
  TRY(auto blob, writer.finish());
  const store::PartInfo part{.number = std::atoi(call.param("partNumber").c_str()),
                             .etag = hex(digest.finish()),
                             .blob = std::move(blob),
                             .modified_ms = now_ms()};
  TRY_VOID(or_s3(store_.put_part(call.param("uploadId"), part), Code::kNotFound, "NoSuchUpload",
                 "the upload does not exist"));
  writer.release();
  return xml_response("CopyPartResult",
                      xml_element("ETag", quote(part.etag)) +
                          xml_element("LastModified", iso_date(part.modified_ms)));
}

Result<HttpResponse> S3Server::complete_upload(const S3Call& call) {
  const std::string id = call.param("uploadId");
  TRY(const auto document, read_document(call));
  TRY(const auto upload, or_s3(store_.find_upload(call.bucket, id), Code::kNotFound, "NoSuchUpload",
                               "the upload does not exist"));
  if (upload.key != call.key) return s3_failure("NoSuchUpload", "the upload is of another key");
  TRY(const auto existing, store_.parts(id));
  TRY(const auto parts, chosen_parts(document, existing));
  TRY_VOID(check_part_sizes(parts));
  store::ObjectInfo info{.key = call.key,
                         .size = 0,
                         .etag = multipart_etag(parts),
                         .modified_ms = now_ms(),
                         .headers = upload.headers,
                         .blobs = {}};
  for (const auto& part : parts) {
    info.blobs.push_back(part.blob);
    info.size += part.blob.size;
  }
  auto done = store_.complete_upload(call.bucket, id, info, write_condition(call.http));
  done = or_s3(std::move(done), Code::kNotFound, "NoSuchUpload", "the upload does not exist");
  TRY_VOID(or_s3(std::move(done), Code::kConflict, "PreconditionFailed", "it does not hold"));
  return xml_response("CompleteMultipartUploadResult",
                      xml_element("Location", call.http.path) + xml_element("Bucket", call.bucket) +
                          xml_element("Key", call.key) + xml_element("ETag", quote(info.etag)));
}

Result<HttpResponse> S3Server::abort_upload(const S3Call& call) {
  const std::string id = call.param("uploadId");
  TRY_VOID(or_s3(store_.find_upload(call.bucket, id), Code::kNotFound, "NoSuchUpload",
                 "the upload does not exist"));
  TRY_VOID(store_.abort_upload(id));
  return HttpResponse{.status = 204, .headers = {}, .body = {}, .content = {}};
}

Result<HttpResponse> S3Server::list_parts(const S3Call& call) {
  const std::string id = call.param("uploadId");
  TRY_VOID(or_s3(store_.find_upload(call.bucket, id), Code::kNotFound, "NoSuchUpload",
                 "the upload does not exist"));
  TRY(const auto parts, store_.parts(id));
  const int after = std::atoi(call.param("part-number-marker").c_str());
  const int most = call.has("max-parts")
                       ? std::clamp(std::atoi(call.param("max-parts").c_str()), 1, 1000)
                       : 1000;
  std::string xml;
  int count = 0;
  int last = after;
  bool truncated = false;
  for (const auto& part : parts) {
    if (part.number <= after) continue;
    truncated = count == most;
    if (truncated) break;
    count++;
    last = part.number;
    xml += "<Part>" + xml_element("PartNumber", std::to_string(part.number)) +
           xml_element("LastModified", iso_date(part.modified_ms)) +
           xml_element("ETag", quote(part.etag)) +
           xml_element("Size", std::to_string(part.blob.size)) + "</Part>";
  }
  return xml_response("ListPartsResult",
                      xml_element("Bucket", call.bucket) + xml_element("Key", call.key) +
                          xml_element("UploadId", id) +
                          xml_element("PartNumberMarker", std::to_string(after)) +
                          xml_element("NextPartNumberMarker", std::to_string(last)) +
                          xml_element("MaxParts", std::to_string(most)) +
                          xml_element("IsTruncated", truncated ? "true" : "false") + xml);
}

Result<HttpResponse> S3Server::list_uploads(const S3Call& call) {
  TRY(const auto uploads, store_.uploads(call.bucket));
  const std::string prefix = call.param("prefix");
  const bool url = call.param("encoding-type") == "url";
  std::string xml = xml_element("Bucket", call.bucket) +
                    xml_element("Prefix", listed(prefix, url)) +
                    xml_element("IsTruncated", "false");
  if (url) xml += xml_element("EncodingType", "url");
  for (const auto& upload : uploads) {
    if (!upload.key.starts_with(prefix)) continue;
    xml += "<Upload>" + xml_element("Key", listed(upload.key, url)) +
           xml_element("UploadId", upload.id) +
           xml_element("Initiated", iso_date(upload.created_ms)) + "</Upload>";
  }
  return xml_response("ListMultipartUploadsResult", xml);
}

}  // namespace banyan::s3
