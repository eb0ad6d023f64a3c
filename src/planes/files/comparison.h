#pragma once
// Comparison: one whole pass over a side of the mirror. What is not as the manifest says is marked;
// what is missing is marked as deleted, or held by the guard. The thread that compares only, except
// for begin_anew(), which is for a time when it does not run.

#include <atomic>
#include <map>
#include <string>

#include "base/guarded.h"
#include "planes/files/dirty_paths.h"
#include "planes/files/mirror.h"

namespace banyan::files {

class Comparison {
 public:
  using Problems = Guarded<std::map<std::string, std::string>>;  // path -> why it is not mirrored

  // All of them outlive it; a pass ends early, with kCancelled, when `stopping` is set.
  Comparison(const Mirror& mirror, DirtyPaths& dirty, const std::atomic<bool>& stopping,
             Problems& problems)
      : mirror_(mirror), dirty_(dirty), stopping_(stopping), problems_(problems) {}

  // How many paths were marked. Waits while very many are marked already.
  Result<std::int64_t> with_directory();
  Result<std::int64_t> with_bucket();
  // The bucket may have changed since: the next pass over the directory looks at it first.
  void begin_anew() { is_reconciled_ = false; }

 private:
  Result<void> reconcile(FileManifest::Records& records);
  bool look_at_file(const std::string& path, const struct stat& status,
                    FileManifest::Records& records);
  bool look_at_object(const s3::RemoteObject& object, FileManifest::Records& records);
  std::int64_t mark_missing(const FileManifest::Records& missing, bool is_odd_if_all);

  const Mirror& mirror_;
  DirtyPaths& dirty_;
  const std::atomic<bool>& stopping_;
  Problems& problems_;
  std::atomic<bool> is_reconciled_ = false;
};

}  // namespace banyan::files
