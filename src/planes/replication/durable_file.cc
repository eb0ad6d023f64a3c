#include "planes/replication/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

namespace banyan::replication {

Result<void> write_durably(const std::filesystem::path& path, const std::string& text) {
  const auto part = path.string() + ".part";
  const int file = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return failure(Code::kInternal, "cannot write " + part);
  const auto written = ::write(file, text.data(), text.size());
  const bool synced = ::fsync(file) == 0;
  ::close(file);
  const bool whole = written == static_cast<ssize_t>(text.size());
  std::error_code trouble;
  if (whole && synced) std::filesystem::rename(part, path, trouble);
  if (whole && synced && !trouble) return {};
  return failure(Code::kInternal, "cannot write " + path.string());
}

}  // namespace banyan::replication
