#pragma once
// Discard: takes a mirror's objects away again: those that the manifest says we uploaded and that
// still have the ETag we gave them, and the parts of unfinished uploads. Everything else stays.
// Idempotent and resumable: what is removed is forgotten in the manifest at once.

#include "base/clock.h"
#include "planes/files/file_manifest.h"
#include "wire/s3/client.h"

namespace banyan::files {

struct DiscardReport {
  std::int64_t removed = 0;
  std::int64_t kept = 0;  // changed by somebody else since, or not ours
  bool done = true;       // false: the time was over
};

struct BucketPart {
  std::string bucket;
  std::string prefix;
};

Result<DiscardReport> remove_uploaded(s3::Client& client, const BucketPart& where,
                                      FileManifest& manifest, const Clock& clock, Duration timeout);

}  // namespace banyan::files
