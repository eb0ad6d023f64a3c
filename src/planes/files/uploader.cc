#include "planes/files/uploader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <map>

#include "base/fail_point.h"
#include "base/log.h"
#include "wire/s3/encoding.h"

namespace banyan::files {
namespace {

constexpr std::int64_t kWholeBytesMax = 16 << 20;
constexpr std::int64_t kPartBytesMin = 8 << 20;
constexpr std::int64_t kPartsMax = 9000;
constexpr std::int64_t kMiB = 1 << 20;
// File times advance in ticks of up to 10 ms: a file changed within the last ones may change again
// without a visible trace.
constexpr auto kHot = std::chrono::milliseconds(30);

std::string_view content_type(std::string_view path) {
  static constexpr auto kTypes = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"avif", "image/avif"},       {"css", "text/css"},        {"csv", "text/csv"},
      {"gif", "image/gif"},         {"html", "text/html"},      {"ico", "image/x-icon"},
      {"jpeg", "image/jpeg"},       {"jpg", "image/jpeg"},      {"js", "text/javascript"},
      {"json", "application/json"}, {"mp3", "audio/mpeg"},      {"mp4", "video/mp4"},
      {"pdf", "application/pdf"},   {"png", "image/png"},       {"svg", "image/svg+xml"},
      {"txt", "text/plain"},        {"webm", "video/webm"},     {"webp", "image/webp"},
      {"woff2", "font/woff2"},      {"xml", "application/xml"}, {"zip", "application/zip"},
  });
  const auto dot = path.rfind('.');
  if (dot == std::string_view::npos) return "application/octet-stream";
  for (const auto& [extension, type] : kTypes) {
    if (path.substr(dot + 1) == extension) return type;
  }
  return "application/octet-stream";
}

s3::HeaderList object_headers(const std::string& path, const FileIdentity& identity) {
  return {{"content-type", std::string(content_type(path))},
          {"x-amz-meta-mtime", fmt::format("{}.{:09}", identity.mtime_ns / 1'000'000'000,
                                           std::abs(identity.mtime_ns % 1'000'000'000))}};
}

// The kernel grants a read lease only while nobody has the file open for writing. Where leases are
// not possible the answer is no.
bool has_writer(const File& file) {
  // Somebody opening the file just now would be signalled to us; SIGURG is ignored by default.
  ::fcntl(file.fd(), F_SETSIG, SIGURG);
  if (::fcntl(file.fd(), F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  ::fcntl(file.fd(), F_SETLEASE, F_UNLCK);
  return false;
}

std::int64_t part_bytes_for(std::int64_t size) {
  const std::int64_t least = (size + kPartsMax - 1) / kPartsMax;
  return std::max(kPartBytesMin, (least + kMiB - 1) / kMiB * kMiB);
}

}  // namespace

bool FileUploader::is_hot(const FileIdentity& identity) const {
  const auto now = mirror_.clock.wall().time_since_epoch().count();
  const auto age = now - identity.ctime_ns;
  return age >= 0 && age < std::chrono::nanoseconds(kHot).count();
}

Result<bool> FileUploader::is_unchanged(const File& file, const FileIdentity& identity) const {
  TRY(const auto status, file.status());
  return identity_of(status) == identity;
}

Result<Carried> FileUploader::carry(const std::string& path, OpenFiles open_files) {
  TRY(const auto status, mirror_.tree.status(path));
  if (!status || !S_ISREG(status->st_mode)) return carry_delete(path);
  mirror_.guard.release(path);
  TRY(const auto record, mirror_.manifest.find(path));
  if (record && record->identity == identity_of(*status)) return Carried::kSettled;
  const auto file = mirror_.tree.open(path);
  if (!file) {
    const bool gone = file.error().code() == Code::kNotFound;
    return gone ? Result<Carried>(Carried::kUnsettled) : std::unexpected(file.error());
  }
  TRY(const auto opened, file->status());
  const FileIdentity identity = identity_of(opened);
  if (is_hot(identity)) return Carried::kUnsettled;
  if (open_files == OpenFiles::kWait && has_writer(*file)) return Carried::kUnsettled;
  return identity.size <= kWholeBytesMax ? put_whole(path, *file, identity)
                                         : put_parts(path, *file, identity);
}

Result<Carried> FileUploader::carry_delete(const std::string& path) {
  TRY(const auto record, mirror_.manifest.find(path));
  if (!record) return Carried::kSettled;
  const auto inode = mirror_.tree.root_inode();
  const std::int64_t known = mirror_.manifest.totals().files;
  const bool root_is_ours = inode && *inode == mirror_.root_inode.load();
  if (!root_is_ours || (known > 10 && !mirror_.tree.has_entries()) ||
      !mirror_.guard.admits_one(known)) {
    mirror_.guard.hold(path);
    return Carried::kSettled;
  }
  TRY(const auto address, mirror_.address(path));
  TRY_VOID(mirror_.client.remove(address));
  TRY_VOID(mirror_.manifest.remove(path));
  mirror_.guard.release(path);
  return Carried::kSettled;
}

Result<Carried> FileUploader::put_whole(const std::string& path, const File& file,
                                        const FileIdentity& identity) {
  TRY(const auto address, mirror_.address(path));
  TRY(const std::string bytes, file.read(0, identity.size + 1));
  TRY(const bool unchanged, is_unchanged(file, identity));
  if (!unchanged || static_cast<std::int64_t>(bytes.size()) != identity.size) {
    return Carried::kUnsettled;
  }
  TRY(const auto etag, mirror_.client.put(address, bytes, object_headers(path, identity)));
  mirror_.bytes_moved += identity.size;
  TRY_VOID(mirror_.manifest.put(path, {.identity = identity, .etag = etag}));
  return Carried::kSettled;
}

Result<void> end_upload(s3::Client& client, const s3::Address& address,
                        const UploadRecord& upload) {
  if (!upload.upload_id.empty()) return client.abort_upload(address, upload.upload_id);
  TRY(const auto begun, client.find_uploads(address));
  for (const std::string& id : begun) TRY_VOID(client.abort_upload(address, id));
  return {};
}

Result<UploadRecord> FileUploader::resume_or_begin(const std::string& path,
                                                   const s3::Address& address,
                                                   const FileIdentity& identity) {
  TRY(const auto known, mirror_.manifest.find_upload(path));
  const bool has_begun = known && !known->upload_id.empty();
  if (has_begun && known->identity == identity) return *known;
  if (known) TRY_VOID(end_upload(mirror_.client, address, *known));
  UploadRecord upload{
      .upload_id = {}, .part_bytes = part_bytes_for(identity.size), .identity = identity};
  TRY_VOID(mirror_.manifest.put_upload(path, upload));  // its answer may be lost
  TRY(upload.upload_id, mirror_.client.create_upload(address, object_headers(path, identity)));
  TRY_VOID(fail_point("upload.created"));
  TRY_VOID(mirror_.manifest.put_upload(path, upload));
  return upload;
}

Result<std::vector<s3::RemotePart>> FileUploader::send_parts(const s3::Address& address,
                                                             const File& file,
                                                             const UploadRecord& upload) {
  TRY(const auto there, mirror_.client.list_parts(address, upload.upload_id));
  std::map<int, s3::RemotePart> sent;
  for (const auto& part : there) sent[part.number] = part;
  std::vector<s3::RemotePart> parts;
  const std::int64_t size = upload.identity.size;
  for (std::int64_t offset = 0; offset < size; offset += upload.part_bytes) {
    const int number = static_cast<int>(parts.size()) + 1;
    TRY(const auto bytes, file.read(offset, std::min(upload.part_bytes, size - offset)));
    const std::string sum = hex(s3::md5(bytes));
    const auto known = sent.find(number);
    if (known == sent.end() || known->second.etag != sum) {
      TRY_VOID(mirror_.client.upload_part(address, upload.upload_id, number, bytes));
      mirror_.bytes_moved += static_cast<std::int64_t>(bytes.size());
    }
    parts.push_back(
        {.number = number, .etag = sum, .size = static_cast<std::int64_t>(bytes.size())});
  }
  return parts;
}

Result<Carried> FileUploader::put_parts(const std::string& path, const File& file,
                                        const FileIdentity& identity) {
  TRY(const auto address, mirror_.address(path));
  TRY(const auto upload, resume_or_begin(path, address, identity));
  const auto parts = send_parts(address, file, upload);
  if (!parts && parts.error().code() == Code::kNotFound) {
    // The upload is not there any more: begin a new one next time.
    TRY_VOID(mirror_.manifest.remove_upload(path));
    return Carried::kUnsettled;
  }
  if (!parts) return std::unexpected(parts.error());
  TRY(const bool unchanged, is_unchanged(file, identity));
  if (!unchanged) return Carried::kUnsettled;
  const auto completed = mirror_.client.complete_upload(address, upload.upload_id, *parts);
  // A completion whose answer was lost shows as an upload that does not exist; the object decides.
  if (!completed && completed.error().code() != Code::kNotFound) {
    return std::unexpected(completed.error());
  }
  TRY_VOID(mirror_.manifest.remove_upload(path));
  TRY(const auto object, mirror_.client.head(address));
  TRY(const auto expected, content_etag(file, upload.part_bytes));
  TRY(const bool still, is_unchanged(file, identity));
  if (object.etag != expected || !still) return Carried::kUnsettled;
  TRY_VOID(mirror_.manifest.put(
      path, {.identity = identity, .etag = expected, .part_bytes = upload.part_bytes}));
  return Carried::kSettled;
}

}  // namespace banyan::files
