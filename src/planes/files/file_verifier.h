#pragma once
// FileVerifier: compares every file with its object by content: the listing gives what is in the
// bucket, reading every file gives what is on disk. Exact while files change: what differs is
// looked at again until it is equal, or is quiet and still different. One run at a time.

#include <atomic>
#include <string>
#include <unordered_map>
#include <vector>

#include "planes/files/dirty_paths.h"
#include "planes/files/mirror.h"

namespace banyan::files {

struct Difference {
  std::string path;
  std::string why;
};

struct VerifyReport {
  std::int64_t files = 0;
  std::int64_t bytes = 0;
  std::vector<Difference> different;
};

class FileVerifier {
 public:
  FileVerifier(const Mirror& mirror, const DirtyPaths& dirty, const std::atomic<bool>& stopping)
      : mirror_(mirror), dirty_(dirty), stopping_(stopping) {}
  Result<VerifyReport> run();

 private:
  struct Seen {
    std::string etag;
    std::int64_t size = 0;
  };
  // "" when equal, else what differs.
  Result<std::string> compare(const std::string& path, const Seen* object);
  Result<std::string> compare_content(const std::string& path, const Seen& object);
  Result<bool> same_bytes(const File& file, const std::string& path);
  Result<void> settle_differences(VerifyReport& report);
  Result<std::string> look_again(const std::string& path);

  const Mirror& mirror_;
  const DirtyPaths& dirty_;
  const std::atomic<bool>& stopping_;
  std::unordered_map<std::string, Seen> objects_;
  std::vector<std::string> suspects_;
};

}  // namespace banyan::files
