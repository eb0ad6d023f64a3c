#pragma once
// FileSync: one mirror at work: a directory and a bucket, in one direction at a time.
//
//   to_bucket:  watcher ----marks----> DirtyPaths --> lanes (FileUploader)
//               scanner ----marks------^              compares the tree with the manifest
//   to_disk:    poller  ----marks----> DirtyPaths --> lanes (FileDownloader)
//
//   stopped --start--> scanning --> uploading <--> watching        (failed: something is in the
//   way;
//      ^--------------stop------------------------------+           it goes on by itself when it is
//      gone)
//
// The direction and the manifest survive a crash; everything else is found again by comparing.
// Thread-safe.

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "planes/files/comparison.h"
#include "planes/files/dirty_paths.h"
#include "planes/files/discard.h"
#include "planes/files/file_verifier.h"
#include "planes/files/file_watcher.h"
#include "planes/files/mirror.h"
#include "planes/files/transfer_rate.h"

namespace banyan::files {

enum class Direction : std::uint8_t { kToBucket, kToDisk };

struct FileSyncOptions {
  std::filesystem::path path;
  s3::ClientOptions storage;
  std::string bucket;
  std::string prefix;
  int lanes = 8;
};

struct SyncStatus {
  std::string state;
  Direction direction = Direction::kToBucket;
  std::int64_t files_total = 0;
  std::int64_t files_done = 0;
  std::int64_t bytes_total = 0;
  std::int64_t bytes_done = 0;
  DirtyStats dirty;
  double bytes_per_s = 0;
  std::optional<std::int64_t> eta_s;
  std::size_t held_deletes = 0;
  std::vector<Difference> problems;  // files that cannot be mirrored, and why
  std::optional<Error> error;
};

struct BarrierReport {
  std::int64_t files = 0;
  Duration took{0};
};

enum class VerifyState : std::uint8_t { kRunning, kDone, kFailed };
struct VerifyStatus {
  VerifyState state = VerifyState::kRunning;
  VerifyReport report;
  std::optional<Error> error;
};

class FileSync {
 public:
  // `directory` is where the manifest is kept.
  static Result<std::unique_ptr<FileSync>> create(FileSyncOptions options,
                                                  const std::filesystem::path& directory);
  ~FileSync();

  void start();  // idempotent, as stop()
  void stop();
  SyncStatus status();
  // Everything written before the call is on the other side when it returns; kTimeout names a file
  // that is not, kConflict when deletes are held back.
  Result<BarrierReport> barrier(Duration timeout);
  Result<void> set_direction(Direction direction);
  // Starts a run unless one is under way or its result was not fetched; waits up to `timeout` for
  // it. A run waits as long, at least 10 s, for files that are on their way.
  VerifyStatus verify(Duration timeout);
  // Stops, and removes from the bucket what was uploaded and nobody changed since. Keeps everything
  // when it ever ran to_disk.
  Result<DiscardReport> discard(Duration timeout);
  // Carries out held deletes if there are no more than `most`.
  void confirm_deletes(std::size_t most);

 private:
  struct Private {};
  struct Passes {  // of the scanner, or of the poller
    std::int64_t wanted = 1;
    std::int64_t completed = 0;
    std::int64_t marked_by_last = 0;
    bool running = false;
    // A pass under way may have been past what changed: only one that begins from now on counts.
    std::int64_t next_to_begin() const { return completed + (running ? 2 : 1); }
  };
  struct Verification {
    bool running = false;
    std::optional<VerifyStatus> result;
  };

 public:
  FileSync(Private, FileSyncOptions options, std::unique_ptr<FileManifest> manifest);

 private:
  void run_lane();
  Result<Carried> carry(const DirtyTask& task);
  void handle_failure(const DirtyTask& task, const Error& error);
  void run_watcher();
  void watch_once();
  void apply(const TreeChanges& changes);
  void run_scanner();
  void wait_for_pass_due();
  void want_pass();
  Result<void> wait_for_pass(Mono deadline);
  Result<void> see_cookie(Mono deadline);
  Result<void> drain(Mono deadline);
  Result<bool> window_is_equal();
  Result<void> see_all_writes(Mono deadline);
  Result<void> notice(Duration timeout);
  Result<void> barrier_to_bucket(Mono deadline);
  Result<void> barrier_to_disk(Mono deadline);
  void start_threads();
  void stop_threads();
  void run_verify(Duration patience);
  void fail(const std::string& part, const Error& error);
  void succeed(const std::string& part);
  Duration left(Mono deadline) const;

  const FileSyncOptions options_;
  const SystemClock clock_;
  const Tree tree_;
  const std::unique_ptr<FileManifest> manifest_;
  s3::Client client_;
  DeleteGuard guard_{clock_};
  DirtyPaths dirty_{clock_};
  std::atomic<std::uint64_t> root_inode_ = 0;
  std::atomic<std::int64_t> bytes_moved_ = 0;
  const Mirror mirror_;
  std::atomic<Direction> direction_ = Direction::kToBucket;
  std::atomic<bool> stopping_ = false;
  Guarded<std::map<std::string, std::string>> problems_;  // by path
  Comparison comparison_{mirror_, dirty_, stopping_, problems_};
  std::atomic<bool> has_unwatched_ = false;
  std::atomic<bool> ever_passed_ = false;
  std::atomic<int> barriers_ = 0;  // under way
  Guarded<Passes> passes_;
  Guarded<std::set<std::string>> cookies_;
  Guarded<std::map<std::string, Error>> errors_;  // by part
  Guarded<Verification> verification_;
  TransferRate rate_;
  std::mutex lifecycle_;  // start, stop, direction
  bool started_ = false;
  std::vector<std::thread> threads_;
  std::thread verifier_;
};

}  // namespace banyan::files
