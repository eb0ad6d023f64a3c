#pragma once
// FileManifest: what is known to be the same on both sides: per path the identity of the file and
// the ETag of the object, plus unfinished multipart uploads and a few named values. In SQLite; a
// crash may lose the newest records, which only means that those files are compared again.
// Thread-safe.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/guarded.h"
#include "planes/files/tree.h"
#include "store/sqlite.h"

namespace banyan::files {

struct FileRecord {
  FileIdentity identity;
  std::string etag;
  std::int64_t part_bytes = 0;  // of a multipart object we made; 0 otherwise
};

struct UploadRecord {
  std::string upload_id;  // empty: about to begin; whether it did is only known in the bucket
  std::int64_t part_bytes = 0;
  FileIdentity identity;  // of the file the parts were cut from
};

struct ManifestTotals {
  std::int64_t files = 0;
  std::int64_t bytes = 0;
};

class FileManifest {
 public:
  using Records = std::unordered_map<std::string, FileRecord>;

  static Result<std::unique_ptr<FileManifest>> open(const std::filesystem::path& file);

  Result<std::optional<FileRecord>> find(const std::string& path);
  Result<void> put(const std::string& path, const FileRecord& record);
  Result<void> remove(const std::string& path);
  Result<Records> all();
  Result<std::vector<std::string>> paths_under(const std::string& directory);
  // The paths recorded last, newest first.
  Result<std::vector<std::string>> newest(int count);
  ManifestTotals totals();
  Result<void> clear();

  Result<std::optional<UploadRecord>> find_upload(const std::string& path);
  Result<std::vector<std::pair<std::string, UploadRecord>>> uploads();
  Result<void> put_upload(const std::string& path, const UploadRecord& record);
  Result<void> remove_upload(const std::string& path);

  Result<std::string> value(const std::string& name);  // "" when unset
  Result<void> set_value(const std::string& name, const std::string& value);

 private:
  struct Private {};
  struct State {
    store::Database database;
    ManifestTotals totals;
    std::int64_t sequence = 0;
  };

 public:
  FileManifest(Private, State state) : state_(std::move(state)) {}

 private:
  Guarded<State> state_;
};

}  // namespace banyan::files
