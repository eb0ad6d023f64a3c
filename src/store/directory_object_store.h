#pragma once
// DirectoryObjectStore: buckets of objects in one directory.
//
//   root/objects.db       what exists: buckets, objects, uploads and parts (SQLite)
//   root/data/<xx>/<id>   content, one immutable file per put or part, named by a random id
//
// Content is written and fsynced first, then one transaction makes it the object: a reader sees the
// old object or the new one, and what was acknowledged survives kill -9 and power loss. Keys never
// become file names, so no key can leave the root. Content nobody points at (a crash between the
// two steps) is swept when the store is opened. Thread-safe; one process per root, enforced by a
// lock.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/guarded.h"
#include "store/object_store.h"
#include "store/sqlite.h"

namespace banyan::store {

// An open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }

 private:
  int fd_;
};

// Content on its way in. Removed again unless it became (part of) an object.
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) = default;
  BlobWriter& operator=(BlobWriter&&) = delete;
  ~BlobWriter();
  Result<void> write(std::string_view bytes);
  // Makes the content durable. Nothing may be written afterwards.
  Result<Blob> finish();
  // The content now belongs to somebody else.
  void release() { path_.clear(); }

 private:
  friend class DirectoryObjectStore;
  BlobWriter(std::filesystem::path path, std::string id, Descriptor file)
      : path_(std::move(path)), file_(std::move(file)), blob_{.id = std::move(id)} {}
  std::filesystem::path path_;
  Descriptor file_;
  Blob blob_;
};

// An object opened for reading: it stays readable when it is replaced or removed meanwhile.
class OpenObject {
 public:
  const ObjectInfo& info() const { return info_; }
  // Reads at most into.size() bytes at `offset`; 0 only at the end.
  Result<std::size_t> read(std::int64_t offset, std::span<char> into) const;

 private:
  friend class DirectoryObjectStore;
  ObjectInfo info_;
  std::vector<Descriptor> files_;
};

class DirectoryObjectStore {
 public:
  static Result<std::unique_ptr<DirectoryObjectStore>> open(const std::filesystem::path& root);

  Result<void> create_bucket(const std::string& bucket);  // kConflict when it exists
  Result<void> delete_bucket(const std::string& bucket);  // kConflict when not empty
  Result<std::vector<BucketInfo>> buckets();
  Result<bool> has_bucket(const std::string& bucket);

  Result<BlobWriter> new_blob();
  // Makes finished content the object `info.key`; kConflict when the condition does not hold.
  Result<void> put(const std::string& bucket, const ObjectInfo& info, const WriteCondition& when);
  Result<ObjectInfo> find(const std::string& bucket, const std::string& key);  // kNotFound
  Result<OpenObject> open_object(const std::string& bucket, const std::string& key);
  // Idempotent: removing what is not there succeeds.
  Result<void> remove(const std::string& bucket, const std::string& key);
  // The same content under new ids, for a copy; shares disk space with the source.
  Result<std::vector<Blob>> link_blobs(const std::vector<Blob>& blobs);
  Result<ListPage> list(const std::string& bucket, const ListQuery& query);

  Result<std::string> create_upload(const std::string& bucket, const std::string& key,
                                    const ObjectHeaders& headers);
  Result<UploadInfo> find_upload(const std::string& bucket, const std::string& id);  // kNotFound
  Result<std::vector<UploadInfo>> uploads(const std::string& bucket);
  Result<void> put_part(const std::string& upload_id, const PartInfo& part);
  Result<std::vector<PartInfo>> parts(const std::string& upload_id);
  // `info.blobs` are those of the chosen parts; the other parts are dropped.
  Result<void> complete_upload(const std::string& bucket, const std::string& upload_id,
                               const ObjectInfo& info, const WriteCondition& when);
  Result<void> abort_upload(const std::string& upload_id);

 private:
  struct Private {};  // what only open() can make

 public:
  DirectoryObjectStore(Private, std::filesystem::path root, Database database, Descriptor lock)
      : root_(std::move(root)), database_(std::move(database)), lock_(std::move(lock)) {}

 private:
  std::filesystem::path blob_path(const std::string& id) const;
  Result<void> sweep();
  void drop(const std::vector<Blob>& blobs) const;

  const std::filesystem::path root_;
  Guarded<Database> database_;
  Descriptor lock_;
};

}  // namespace banyan::store
