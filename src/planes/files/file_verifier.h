#pragma once
// FileVerifier: compares every file with its object by content: the listing gives what is in the
// bucket, reading every file gives what is on disk. Exact while files change and are carried: a
// path that differs is a difference only when it looks the same twice, is in nobody's hand, and the
// side that is followed was compared in between; what is still on its way when the patience ends is
// unsettled, not different. One run at a time.

#include <atomic>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "planes/files/dirty_paths.h"
#include "planes/files/mirror.h"

namespace banyan::files {

struct Difference {
  std::string path;
  std::string why;
  std::string disk;    // what is there, for people; "" where it was not looked at
  std::string bucket;  // as above
};

struct Differences {
  std::int64_t total = 0;
  std::vector<Difference> shown;  // the first of them
  void add(Difference difference);
};

struct VerifyReport {
  std::int64_t files = 0;
  std::int64_t bytes = 0;
  Differences different;
  Differences unsettled;  // still being carried when the patience ended
};

class FileVerifier {
 public:
  struct Parts {
    const Mirror& mirror;
    const DirtyPaths& dirty;
    const std::atomic<bool>& stopping;
    // Returns when everything written to the followed side before the call is marked dirty or was
    // carried; an error when that cannot be told in time.
    std::function<Result<void>(Duration)> notice;
    Duration patience;  // with files on their way; ends earlier when none arrives any more
  };
  explicit FileVerifier(Parts parts) : parts_(std::move(parts)), mirror_(parts_.mirror) {}
  Result<VerifyReport> run();

 private:
  struct Seen {
    std::string etag;
    std::int64_t size = 0;
  };
  // One path as it was found.
  struct Look {
    Difference difference;  // why is "" when both sides are equal
    std::optional<FileIdentity> file;
    std::string etag;
    bool shows_the_same_as(const Look& other) const {
      return file == other.file && etag == other.etag;
    }
  };
  using Looks = std::unordered_map<std::string, Look>;

  Result<void> compare_all(VerifyReport& report);
  Result<Look> compare(const std::string& path, const Seen* object);
  Result<void> compare_content(Look& look, const File& file, const Seen& object);
  Result<bool> same_bytes(const File& file, const std::string& path);
  Result<void> settle(VerifyReport& report);
  Result<void> look_at_suspects(bool noticed, VerifyReport& report);
  Result<Look> look_again(const std::string& path);
  Result<void> list_unsettled(VerifyReport& report);

  const Parts parts_;
  const Mirror& mirror_;
  Looks suspects_;  // as last seen at rest
};

}  // namespace banyan::files
