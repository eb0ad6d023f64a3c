#pragma once
// Mirror: the two sides and what is known about them, which uploading, downloading and verifying
// share. A plain bundle of borrowed parts; thread-safe because its parts are.

#include <atomic>
#include <string>

#include "base/clock.h"
#include "planes/files/delete_guard.h"
#include "planes/files/file_manifest.h"
#include "planes/files/names.h"
#include "planes/files/tree.h"
#include "wire/s3/client.h"

namespace banyan::files {

struct Mirror {
  const Tree& tree;
  FileManifest& manifest;
  s3::Client& client;
  DeleteGuard& guard;
  const Clock& clock;
  std::string bucket;
  std::string prefix;
  std::atomic<std::uint64_t>& root_inode;  // of the root we watch; another one is not our root
  std::atomic<std::int64_t>& bytes_moved;

  Result<s3::Address> address(const std::string& path) const {
    TRY(auto key, key_of_path(prefix, path));
    return s3::Address{bucket, std::move(key)};
  }
};

// What carrying one path over came to.
enum class Carried : std::uint8_t {
  kSettled,    // both sides are the same (or the delete is held)
  kUnsettled,  // the file is being written; look again soon
};

// Calls `each` for every object below the prefix.
Result<void> list_all(const Mirror& mirror,
                      const std::function<void(const s3::RemoteObject&)>& each);

// The ETag an object with this file's content has when uploaded in parts of `part_bytes` (0: at
// once).
Result<std::string> content_etag(const File& file, std::int64_t part_bytes);

}  // namespace banyan::files
