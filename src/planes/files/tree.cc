#include "planes/files/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "planes/files/names.h"

namespace banyan::files {
namespace {

std::unexpected<Error> errno_failure(const std::string& path) {
  const int number = errno;
  Code code = Code::kInternal;
  if (number == ENOENT || number == ENOTDIR) code = Code::kNotFound;
  if (number == EACCES || number == EPERM) code = Code::kPermission;
  if (number == ELOOP || number == ENXIO) code = Code::kUnsupported;
  return failure(code, path + ": " + std::strerror(number));
}

std::int64_t to_ns(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// Makes `name` in `parent`, owned like the parent and as open as it.
Result<void> make_directory(const File& parent, const std::string& name) {
  TRY(const auto above, parent.status());
  if (::mkdirat(parent.fd(), name.c_str(), above.st_mode & 07777) != 0) {
    return errno == EEXIST ? Result<void>{} : Result<void>(errno_failure(name));
  }
  // Only root may give files away; others own what they make.
  (void)::fchownat(parent.fd(), name.c_str(), above.st_uid, above.st_gid, AT_SYMLINK_NOFOLLOW);
  ::fchmodat(parent.fd(), name.c_str(), above.st_mode & 07777, 0);
  return {};
}

Result<File> step_into(const File& parent, const std::string& name, Create create) {
  File next(::openat(parent.fd(), name.c_str(), kDirectoryFlags));
  if (!next.is_open() && errno == ENOENT && create == Create::kYes) {
    TRY_VOID(make_directory(parent, name));
    next = File(::openat(parent.fd(), name.c_str(), kDirectoryFlags));
  }
  if (!next.is_open()) return errno_failure(name);
  return next;
}

Kind kind_of(const struct stat& status) {
  if (S_ISREG(status.st_mode)) return Kind::kFile;
  return S_ISDIR(status.st_mode) ? Kind::kDirectory : Kind::kOther;
}

class Walker {
 public:
  enum class Sweep : std::uint8_t { kNo, kYes };
  explicit Walker(const Visit& visit, Sweep sweep = Sweep::kNo) : visit_(visit), sweep_(sweep) {}
  void walk(File directory, const std::string& path) {
    const int fd = ::dup(directory.fd());
    const std::unique_ptr<DIR, CloseDirectory> stream(fd < 0 ? nullptr : ::fdopendir(fd));
    if (!stream) return failed(path);
    errno = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string name = entry->d_name;
      if (is_own_name(name)) {
        sweep(directory, name);
      } else if (name != "." && name != "..") {
        take(directory, path.empty() ? name : path + "/" + name, name);
      }
      errno = 0;
    }
    if (errno != 0) failed(path);
  }
  Result<void> outcome() && {
    if (error_) return std::unexpected(*std::move(error_));
    return {};
  }

 private:
  void take(const File& parent, const std::string& path, const std::string& name) {
    struct stat status{};
    if (::fstatat(parent.fd(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) failed(path);
      return;
    }
    const Kind kind = kind_of(status);
    if (!visit_(path, kind, status) || kind != Kind::kDirectory) return;
    File next(::openat(parent.fd(), name.c_str(), kDirectoryFlags));
    if (next.is_open()) {
      walk(std::move(next), path);
    } else if (errno != ENOENT) {
      failed(path);
    }
  }
  void sweep(const File& directory, const std::string& name) const {
    if (sweep_ == Sweep::kNo || name.find(process_token()) != std::string::npos) return;
    ::unlinkat(directory.fd(), name.c_str(), 0);
  }
  void failed(const std::string& path) {
    if (!error_) error_ = errno_failure(path).error();
  }

  const Visit& visit_;
  const Sweep sweep_;
  std::optional<Error> error_;
};

}  // namespace

FileIdentity identity_of(const struct stat& status) {
  return {.inode = status.st_ino,
          .size = status.st_size,
          .mtime_ns = to_ns(status.st_mtim),
          .ctime_ns = to_ns(status.st_ctim)};
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<struct stat> File::status() const {
  struct stat status{};
  if (::fstat(fd_, &status) != 0) return errno_failure("status");
  return status;
}

Result<std::string> File::read(std::int64_t offset, std::int64_t count) const {
  std::string bytes(static_cast<std::size_t>(count), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(fd_, bytes.data() + done, bytes.size() - done,
                                offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_failure("reading");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

Result<void> File::write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno_failure("writing");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Result<File> Tree::open_parent(const std::string& path, Create create) const {
  File directory(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.is_open()) return errno_failure(root_.string());
  std::size_t start = 0;
  while (true) {
    const auto slash = path.find('/', start);
    if (slash == std::string::npos) return directory;
    TRY(directory, step_into(directory, path.substr(start, slash - start), create));
    start = slash + 1;
  }
}

Result<File> Tree::open(const std::string& path) const {
  TRY(const auto parent, open_parent(path, Create::kNo));
  File file(::openat(parent.fd(), base_name(path).c_str(),
                     O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.is_open()) return errno_failure(path);
  TRY(const auto status, file.status());
  if (!S_ISREG(status.st_mode)) return failure(Code::kUnsupported, path + ": not a regular file");
  return file;
}

Result<std::optional<struct stat>> Tree::status(const std::string& path) const {
  const auto parent = open_parent(path, Create::kNo);
  if (!parent) {
    if (parent.error().code() == Code::kNotFound) return std::nullopt;
    return std::unexpected(parent.error());
  }
  struct stat status{};
  if (::fstatat(parent->fd(), base_name(path).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    return status;
  }
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  return errno_failure(path);
}

Result<void> Tree::remove(const std::string& path) const {
  const auto parent = open_parent(path, Create::kNo);
  if (!parent) {
    if (parent.error().code() == Code::kNotFound) return {};
    return std::unexpected(parent.error());
  }
  if (::unlinkat(parent->fd(), base_name(path).c_str(), 0) != 0 && errno != ENOENT) {
    return errno_failure(path);
  }
  return {};
}

Result<void> Tree::walk(const std::string& directory, const Visit& visit) const {
  TRY(auto start, open_parent(directory.empty() ? "x" : directory + "/x", Create::kNo));
  Walker walker(visit);
  walker.walk(std::move(start), directory);
  return std::move(walker).outcome();
}

void Tree::sweep() const {
  auto start = open_parent("x", Create::kNo);
  if (!start) return;
  const Visit everywhere = [](const std::string&, Kind, const struct stat&) { return true; };
  Walker(everywhere, Walker::Sweep::kYes).walk(*std::move(start), "");
}

bool Tree::has_entries() const {
  bool found = false;
  const auto walked = walk("", [&](const std::string&, Kind, const struct stat&) {
    found = true;
    return false;
  });
  return walked && found;
}

Result<std::uint64_t> Tree::root_inode() const {
  struct stat status{};
  if (::stat(root_.c_str(), &status) != 0) return errno_failure(root_.string());
  if (!S_ISDIR(status.st_mode))
    return failure(Code::kNotFound, root_.string() + " is no directory");
  return status.st_ino;
}

}  // namespace banyan::files
