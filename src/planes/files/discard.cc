#include "planes/files/discard.h"

#include "planes/files/names.h"
#include "planes/files/uploader.h"

namespace banyan::files {
namespace {

Result<void> abort_uploads(s3::Client& client, const BucketPart& where, FileManifest& manifest) {
  TRY(const auto uploads, manifest.uploads());
  for (const auto& [path, upload] : uploads) {
    TRY(auto key, key_of_path(where.prefix, path));
    TRY_VOID(end_upload(client, {where.bucket, std::move(key)}, upload));
    TRY_VOID(manifest.remove_upload(path));
  }
  return {};
}

}  // namespace

Result<DiscardReport> remove_uploaded(s3::Client& client, const BucketPart& where,
                                      FileManifest& manifest, const Clock& clock,
                                      Duration timeout) {
  const Mono deadline = clock.now() + timeout;
  TRY_VOID(abort_uploads(client, where, manifest));
  DiscardReport report;
  TRY(const auto records, manifest.all());
  for (const auto& [path, record] : records) {
    if (clock.now() > deadline) {
      report.done = false;
      return report;
    }
    TRY(auto key, key_of_path(where.prefix, path));
    const s3::Address address{where.bucket, std::move(key)};
    const auto object = client.head(address);
    if (!object && object.error().code() != Code::kNotFound) return std::unexpected(object.error());
    const bool is_ours = object && object->etag == record.etag;
    if (is_ours) TRY_VOID(client.remove(address));
    if (object) ++(is_ours ? report.removed : report.kept);
    if (is_ours || !object) TRY_VOID(manifest.remove(path));
  }
  return report;
}

}  // namespace banyan::files
