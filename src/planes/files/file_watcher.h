#pragma once
// FileWatcher: the changes below a tree, by one inotify watch per directory. A directory that
// appears is watched first and then listed, so nothing made in it in between is missed. What the
// kernel could not queue, or could not watch, is reported as "everything may have changed". One
// thread; poll() waits.

#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "planes/files/tree.h"

namespace banyan::files {

struct TreeChanges {
  std::vector<std::string> paths;       // entries that changed, appeared or vanished
  std::vector<std::string> gone_below;  // directories that vanished with all that was below
  std::vector<std::string> cookies;     // names of barrier files that appeared in the root
  bool overflowed = false;              // compare everything
  bool root_gone = false;
};

class FileWatcher {
 public:
  explicit FileWatcher(const Tree& tree) : tree_(tree) {}

  // Watches the whole tree. Everything that changes afterwards is reported.
  Result<void> start();
  // Waits up to `timeout` for changes and returns what there is.
  Result<TreeChanges> poll(Duration timeout);
  // Directories that could not be watched (the limit of the system); they need regular scans.
  std::size_t unwatched() const { return unwatched_; }

 private:
  void add_tree(const std::string& directory, TreeChanges* changes);
  bool watch(const std::string& directory);
  void forget_tree(const std::string& directory);
  void take(const std::string& directory, std::uint32_t mask, const std::string& name,
            TreeChanges& changes);
  void take_directory(const std::string& path, std::uint32_t mask, TreeChanges& changes);

  const Tree& tree_;
  File inotify_;
  std::unordered_map<int, std::string> directories_;  // by watch
  std::size_t unwatched_ = 0;
};

}  // namespace banyan::files
