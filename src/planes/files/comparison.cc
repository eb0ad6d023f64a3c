#include "planes/files/comparison.h"

#include <thread>
#include <unordered_map>

namespace banyan::files {
namespace {

constexpr std::size_t kDirtyMax = 200'000;

}  // namespace

// What the bucket lost or changed while nobody looked is uploaded again.
Result<void> Comparison::reconcile(FileManifest::Records& records) {
  if (is_reconciled_) return {};
  TRY_VOID(mirror_.client.ensure_bucket(mirror_.bucket));
  std::unordered_map<std::string, std::string> etags;
  TRY_VOID(list_all(mirror_, [&](const s3::RemoteObject& object) {
    if (auto path = path_of_key(mirror_.prefix, object.key)) {
      etags.emplace(*std::move(path), object.etag);
    }
  }));
  for (auto& [path, record] : records) {
    const auto object = etags.find(path);
    if (object != etags.end() && object->second == record.etag) continue;
    record.identity.inode = 0;
    record.etag.clear();
    TRY_VOID(mirror_.manifest.put(path, record));
  }
  is_reconciled_ = true;
  return {};
}

bool Comparison::look_at_file(const std::string& path, const struct stat& status,
                              FileManifest::Records& records) {
  const auto known = records.find(path);
  const bool is_new = known == records.end();
  const bool is_same = !is_new && known->second.identity == identity_of(status);
  if (!is_new) records.erase(known);
  if (is_same) return false;
  while (dirty_.size() > kDirtyMax && !stopping_) std::this_thread::sleep_for(20ms);
  dirty_.mark(path, {.bytes = status.st_size, .is_new = is_new});
  return true;
}

Result<std::int64_t> Comparison::with_directory() {
  TRY(auto records, mirror_.manifest.all());
  TRY_VOID(reconcile(records));
  std::int64_t marked = 0;
  const auto walked =
      mirror_.tree.walk("", [&](const std::string& path, Kind kind, const struct stat& status) {
        if (stopping_) return false;
        if (kind == Kind::kFile && look_at_file(path, status, records)) marked++;
        return true;
      });
  if (stopping_) return failure(Code::kCancelled, "stopped");
  // What could not be listed must not look deleted.
  if (!walked) return std::unexpected(walked.error());
  return marked + mark_missing(records, !mirror_.tree.has_entries());
}

bool Comparison::look_at_object(const s3::RemoteObject& object, FileManifest::Records& records) {
  const auto path = path_of_key(mirror_.prefix, object.key);
  if (!path) {
    if (object.key.ends_with('/')) return false;
    problems_.with([&](auto& all) { all[object.key] = "the key cannot be a file name"; });
    return false;
  }
  const auto known = records.find(*path);
  const bool is_new = known == records.end();
  const auto status = mirror_.tree.status(*path);
  const bool is_same = !is_new && known->second.etag == object.etag && status && *status &&
                       known->second.identity == identity_of(**status);
  if (!is_new) records.erase(known);
  if (!is_same) dirty_.mark(*path, {.bytes = object.size, .is_new = is_new});
  return !is_same;
}

Result<std::int64_t> Comparison::with_bucket() {
  TRY(auto records, mirror_.manifest.all());
  std::int64_t marked = 0;
  TRY_VOID(list_all(mirror_, [&](const s3::RemoteObject& object) {
    if (look_at_object(object, records)) marked++;
  }));
  return marked + mark_missing(records, mirror_.manifest.totals().files > 1);
}

// Everything at once is hardly ever what somebody deleted: an unmounted disk, another bucket.
std::int64_t Comparison::mark_missing(const FileManifest::Records& missing, bool is_odd_if_all) {
  if (missing.empty()) return 0;
  const auto known = mirror_.manifest.totals().files;
  const auto count = static_cast<std::int64_t>(missing.size());
  const bool is_suspicious = count >= known && is_odd_if_all;
  const bool is_admitted = !is_suspicious && mirror_.guard.admits_batch(missing.size(), known);
  for (const auto& [path, record] : missing) {
    if (is_admitted) {
      dirty_.mark(path);
    } else {
      mirror_.guard.hold(path);
    }
  }
  return is_admitted ? count : 0;
}

}  // namespace banyan::files
