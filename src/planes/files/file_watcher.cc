#include "planes/files/file_watcher.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "planes/files/names.h"

namespace banyan::files {
namespace {

constexpr std::uint32_t kMask = IN_CREATE | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_DELETE |
                                IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |
                                IN_ONLYDIR | IN_DONT_FOLLOW;
constexpr std::size_t kBufferBytes = 256 * 1024;

}  // namespace

Result<void> FileWatcher::start() {
  inotify_ = File(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify_.is_open()) {
    return std::unexpected(
        Error(Code::kUnavailable, std::string("inotify: ") + std::strerror(errno))
            .with_remedy("raise fs.inotify.max_user_instances"));
  }
  directories_.clear();
  unwatched_ = 0;
  TRY_VOID(tree_.root_inode());
  if (!watch("")) {
    return std::unexpected(Error(Code::kUnavailable, "the root cannot be watched")
                               .with_remedy("raise fs.inotify.max_user_watches"));
  }
  add_tree("", nullptr);
  return {};
}

bool FileWatcher::watch(const std::string& directory) {
  const auto path = directory.empty() ? tree_.root() : tree_.root() / directory;
  const int watch = ::inotify_add_watch(inotify_.fd(), path.c_str(), kMask);
  if (watch < 0) {
    if (errno == ENOSPC || errno == EACCES || errno == ENOMEM) unwatched_++;
    return false;
  }
  directories_[watch] = directory;
  return true;
}

void FileWatcher::add_tree(const std::string& directory, TreeChanges* changes) {
  // Watch, then list: what appears in between is seen twice rather than never.
  watch(directory);
  // An unreadable directory is the scan's to report.
  (void)tree_.walk(directory, [&](const std::string& path, Kind kind, const struct stat&) {
    if (kind == Kind::kDirectory) watch(path);
    if (kind == Kind::kFile && changes != nullptr) changes->paths.push_back(path);
    return true;
  });
}

void FileWatcher::forget_tree(const std::string& directory) {
  for (auto at = directories_.begin(); at != directories_.end();) {
    if (at->second == directory || at->second.starts_with(directory + "/")) {
      ::inotify_rm_watch(inotify_.fd(), at->first);
      at = directories_.erase(at);
    } else {
      ++at;
    }
  }
}

void FileWatcher::take_directory(const std::string& path, std::uint32_t mask,
                                 TreeChanges& changes) {
  if ((mask & (IN_MOVED_FROM | IN_DELETE)) != 0) {
    forget_tree(path);
    changes.gone_below.push_back(path);
  }
  if ((mask & (IN_CREATE | IN_MOVED_TO)) != 0) {
    forget_tree(path);
    add_tree(path, &changes);
  }
}

void FileWatcher::take(const std::string& directory, std::uint32_t mask, const std::string& name,
                       TreeChanges& changes) {
  if (name.empty()) {
    const bool gone = (mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
    if (gone && directory.empty()) changes.root_gone = true;
    return;
  }
  if (name.starts_with(kBarrierPrefix)) {
    if (directory.empty() && (mask & IN_CREATE) != 0) changes.cookies.push_back(name);
    return;
  }
  if (is_own_name(name)) return;
  const std::string path = directory.empty() ? name : directory + "/" + name;
  if ((mask & IN_ISDIR) != 0) return take_directory(path, mask, changes);
  changes.paths.push_back(path);
}

Result<TreeChanges> FileWatcher::poll(Duration timeout) {
  TreeChanges changes;
  pollfd waiting{.fd = inotify_.fd(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(to_ms(timeout))) <= 0) return changes;
  std::string buffer(kBufferBytes, '\0');
  const ssize_t got = ::read(inotify_.fd(), buffer.data(), buffer.size());
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return changes;
    return failure(Code::kInternal, std::string("inotify: ") + std::strerror(errno));
  }
  for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
    inotify_event event{};
    std::memcpy(&event, buffer.data() + at, sizeof event);
    const char* name = buffer.data() + at + sizeof event;
    at += sizeof event + event.len;
    if ((event.mask & IN_Q_OVERFLOW) != 0) changes.overflowed = true;
    if ((event.mask & IN_IGNORED) != 0) {
      directories_.erase(event.wd);
      continue;
    }
    const auto known = directories_.find(event.wd);
    if (known == directories_.end()) continue;
    const std::string directory = known->second;  // taking the event may forget it
    take(directory, event.mask, event.len > 0 ? std::string(name) : "", changes);
  }
  if (changes.overflowed) {
    // Directories may have appeared or moved unseen; a watch that is there keeps its number.
    unwatched_ = 0;
    add_tree("", nullptr);
  }
  return changes;
}

}  // namespace banyan::files
