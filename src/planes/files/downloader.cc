#include "planes/files/downloader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "wire/s3/encoding.h"

namespace banyan::files {
namespace {

std::unexpected<Error> errno_failure(const std::string& what) {
  return failure(errno == EACCES || errno == EPERM ? Code::kPermission : Code::kInternal,
                 what + ": " + std::strerror(errno));
}

// Removes the temporary file unless it was installed.
class Temporary {
 public:
  explicit Temporary(const File& directory) : directory_(directory) {
    static std::atomic<unsigned> counter = 0;
    name_ = fmt::format("{}{}-{}", kTemporaryPrefix, process_token(), counter++);
  }
  ~Temporary() { ::unlinkat(directory_.fd(), name_.c_str(), 0); }
  Temporary(const Temporary&) = delete;
  const std::string& name() const { return name_; }
  Result<File> create() const {
    ::unlinkat(directory_.fd(), name_.c_str(), 0);
    File file(
        ::openat(directory_.fd(), name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file.is_open()) return errno_failure("creating a file");
    return file;
  }

 private:
  const File& directory_;
  std::string name_;
};

timespec time_of(const s3::RemoteObject& object) {
  const std::string* text = s3::find_header(object.headers, "x-amz-meta-mtime");
  if (text == nullptr) {
    return {.tv_sec = object.modified_ms / 1000, .tv_nsec = object.modified_ms % 1000 * 1'000'000};
  }
  const auto dot = text->find('.');
  std::string fraction = dot == std::string::npos ? "" : text->substr(dot + 1);
  fraction.resize(9, '0');
  return {.tv_sec = std::atol(text->c_str()), .tv_nsec = std::atol(fraction.c_str())};
}

// As the file that is replaced, or as its directory would have it.
void give_to_owner(const File& file, const struct stat& model, mode_t mode) {
  // Only root may give files away; for others the file is theirs already.
  if (::fchown(file.fd(), model.st_uid, model.st_gid) != 0) errno = 0;
  ::fchmod(file.fd(), mode);
}

bool is_plain_md5(const std::string& etag) {
  return etag.size() == 32 && etag.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

Result<Carried> FileDownloader::carry(const std::string& path) {
  TRY(const auto address, mirror_.address(path));
  const auto object = mirror_.client.head(address);
  if (!object && object.error().code() == Code::kNotFound) return carry_delete(path);
  if (!object) return std::unexpected(object.error());
  mirror_.guard.release(path);
  TRY(const bool same, adopt(path, *object));
  return same ? Result<Carried>(Carried::kSettled) : fetch(path, address);
}

Result<Carried> FileDownloader::carry_delete(const std::string& path) {
  TRY(const auto record, mirror_.manifest.find(path));
  if (!record) return Carried::kSettled;
  if (!mirror_.guard.admits_one(mirror_.manifest.totals().files)) {
    mirror_.guard.hold(path);
    return Carried::kSettled;
  }
  TRY_VOID(mirror_.tree.remove(path));
  TRY_VOID(mirror_.manifest.remove(path));
  mirror_.guard.release(path);
  return Carried::kSettled;
}

Result<bool> FileDownloader::adopt(const std::string& path, const s3::RemoteObject& object) {
  TRY(const auto status, mirror_.tree.status(path));
  if (!status || !S_ISREG(status->st_mode) || status->st_size != object.size) return false;
  TRY(const auto record, mirror_.manifest.find(path));
  if (record && record->etag == object.etag && record->identity == identity_of(*status))
    return true;
  TRY(const auto file, mirror_.tree.open(path));
  const std::int64_t part_bytes = record ? record->part_bytes : 0;
  TRY(const auto etag, content_etag(file, is_plain_md5(object.etag) ? 0 : part_bytes));
  TRY(const auto after, file.status());
  if (etag != object.etag || identity_of(after) != identity_of(*status)) return false;
  TRY_VOID(mirror_.manifest.put(
      path, {.identity = identity_of(after), .etag = etag, .part_bytes = part_bytes}));
  return true;
}

Result<Carried> FileDownloader::fetch(const std::string& path, const s3::Address& address) {
  TRY(const auto parent, mirror_.tree.open_parent(path, Create::kYes));
  const Temporary temporary(parent);
  TRY(const auto file, temporary.create());
  s3::Digest digest(s3::Digest::Kind::kMd5);
  const s3::ByteSink sink = [&](std::string_view bytes) {
    digest.update(bytes);
    mirror_.bytes_moved += static_cast<std::int64_t>(bytes.size());
    return file.write(bytes);
  };
  const std::function<void()> restart = [&] {
    (void)digest.finish();  // starts over
    if (::ftruncate(file.fd(), 0) == 0) ::lseek(file.fd(), 0, SEEK_SET);
  };
  const auto object = mirror_.client.get(address, sink, restart);
  if (!object && object.error().code() == Code::kNotFound) return Carried::kUnsettled;
  if (!object) return std::unexpected(object.error());
  TRY(const auto written, file.status());
  if (written.st_size != object->size ||
      (is_plain_md5(object->etag) && hex(digest.finish()) != object->etag)) {
    return failure(Code::kUnavailable, path + ": the content does not match its ETag");
  }
  const std::array<timespec, 2> times = {timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                         time_of(*object)};
  ::futimens(file.fd(), times.data());
  TRY_VOID(install(path, parent, file, temporary.name()));
  TRY(const auto installed, file.status());
  TRY_VOID(mirror_.manifest.put(path, {.identity = identity_of(installed), .etag = object->etag}));
  return Carried::kSettled;
}

Result<void> FileDownloader::install(const std::string& path, const File& parent, const File& file,
                                     const std::string& temporary) {
  TRY(const auto replaced, mirror_.tree.status(path));
  TRY(const auto directory, parent.status());
  if (replaced && S_ISREG(replaced->st_mode)) {
    give_to_owner(file, *replaced, replaced->st_mode & 07777);
  } else {
    give_to_owner(file, directory, directory.st_mode & 0666);
  }
  if (::fsync(file.fd()) != 0) return errno_failure("syncing " + path);
  if (::renameat(parent.fd(), temporary.c_str(), parent.fd(), base_name(path).c_str()) != 0) {
    return errno_failure("replacing " + path);
  }
  return {};
}

}  // namespace banyan::files
