#pragma once
// Tree: the mirrored directory. Paths are relative to its root and never leave it: every component
// is opened without following symbolic links. Thread-safe.

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace banyan::files {

// What tells one state of a file from another. ctime catches edits that keep size and mtime.
struct FileIdentity {
  std::uint64_t inode = 0;
  std::int64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};
FileIdentity identity_of(const struct stat& status);

// An owned file descriptor.
class File {
 public:
  explicit File(int fd = -1) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File();
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  Result<struct stat> status() const;
  // Reads exactly `count` bytes at `offset`, fewer only at the end.
  Result<std::string> read(std::int64_t offset, std::int64_t count) const;
  Result<void> write(std::string_view bytes) const;

 private:
  int fd_;
};

enum class Create : std::uint8_t { kNo, kYes };
enum class Kind : std::uint8_t { kFile, kDirectory, kOther };
// False: do not descend (directories), or stop caring.
using Visit = std::function<bool(const std::string& path, Kind kind, const struct stat& status)>;

class Tree {
 public:
  explicit Tree(std::filesystem::path root) : root_(std::move(root)) {}
  const std::filesystem::path& root() const { return root_; }

  // The directory a path is in. With Create::kYes missing ones are made, with the owner and mode of
  // the directory above.
  Result<File> open_parent(const std::string& path, Create create) const;
  // kNotFound, or kUnsupported for what is not a regular file.
  Result<File> open(const std::string& path) const;
  // Nothing when there is no such entry.
  Result<std::optional<struct stat>> status(const std::string& path) const;
  Result<void> remove(const std::string& path) const;  // idempotent
  // Visits what is below `directory` ("" = the root). The first unreadable directory is an error,
  // but the walk goes on.
  Result<void> walk(const std::string& directory, const Visit& visit) const;
  // Removes temporary and barrier files an earlier process left behind.
  void sweep() const;
  // True when there is at least one entry that is not ours.
  bool has_entries() const;
  // The root's inode; kNotFound when it is gone.
  Result<std::uint64_t> root_inode() const;

 private:
  std::filesystem::path root_;
};

std::string base_name(const std::string& path);

}  // namespace banyan::files
