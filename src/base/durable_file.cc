#include "base/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace banyan {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::unexpected<Error> failed(std::string_view call, const std::filesystem::path& path) {
  return failure(Code::kUnavailable,
                 std::string(call) + " " + path.string() + ": " + std::strerror(errno));
}

Result<void> write_all(int fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write", path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd) != 0) return failed("fsync", path);
  return {};
}

Result<void> sync_directory(const std::filesystem::path& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return failed("fsync", path);
  return {};
}

}  // namespace

Result<void> write_durably(const std::filesystem::path& path, std::string_view text, mode_t mode) {
  const std::string part = path.string() + ".part";
  {
    const Descriptor file(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (file.get() < 0) return failed("open", part);
    TRY_VOID(write_all(file.get(), text, part));
  }
  if (std::rename(part.c_str(), path.c_str()) != 0) return failed("rename", path);
  return sync_directory(std::filesystem::absolute(path).parent_path());
}

}  // namespace banyan
