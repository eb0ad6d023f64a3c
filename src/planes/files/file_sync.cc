#include "planes/files/file_sync.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/log.h"
#include "planes/files/discard.h"
#include "planes/files/downloader.h"
#include "planes/files/uploader.h"

namespace banyan::files {
namespace {

constexpr auto kHotPause = std::chrono::milliseconds(30);
constexpr auto kPauseFirst = std::chrono::milliseconds(100);
constexpr auto kPauseMax = std::chrono::seconds(5);
constexpr auto kPollEvery = std::chrono::seconds(1);
constexpr auto kScanEvery = std::chrono::minutes(10);
constexpr auto kScanUnwatchedEvery = std::chrono::seconds(10);
constexpr auto kPassAgain = std::chrono::seconds(1);
constexpr auto kDrainOnSwitch = std::chrono::seconds(2);
constexpr auto kOpenPatience = std::chrono::seconds(20);
constexpr auto kVerifyPatienceMin = std::chrono::seconds(10);
constexpr int kBarrierLooks = 5;
constexpr int kWindowFiles = 200;
constexpr std::size_t kProblemsShown = 20;

Duration pause_after(int attempts) {
  return std::min<Duration>(kPauseMax, kPauseFirst * (1 << std::min(attempts, 6)));
}

constexpr std::string_view kDirectionValue = "direction";
constexpr std::string_view kTargetValue = "target";
constexpr std::string_view kWrittenBackValue = "written_back";

// Links above the root are followed once; inside it never.
std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code error;
  auto real = std::filesystem::canonical(path, error);
  return error ? path : real;
}

std::string target_of(const FileSyncOptions& options) {
  return options.storage.endpoint + "|" + options.bucket + "|" + options.prefix + "|" +
         options.path.string();
}

// Records about another directory or bucket would be lies about this one.
Result<void> check_target(FileManifest& manifest, const FileSyncOptions& options) {
  const std::string target = target_of(options);
  TRY(const auto known, manifest.value(std::string(kTargetValue)));
  if (known == target) return {};
  if (!known.empty()) TRY_VOID(manifest.clear());
  return manifest.set_value(std::string(kTargetValue), target);
}

}  // namespace

Result<std::unique_ptr<FileSync>> FileSync::create(FileSyncOptions options,
                                                   const std::filesystem::path& directory) {
  TRY(auto manifest, FileManifest::open(directory / "manifest.db"));
  TRY_VOID(check_target(*manifest, options));
  TRY(const auto direction, manifest->value(std::string(kDirectionValue)));
  auto sync = std::make_unique<FileSync>(Private{}, std::move(options), std::move(manifest));
  if (direction == "to_disk") sync->direction_ = Direction::kToDisk;
  return sync;
}

FileSync::FileSync(Private, FileSyncOptions options, std::unique_ptr<FileManifest> manifest)
    : options_(std::move(options)),
      tree_(resolved(options_.path)),
      manifest_(std::move(manifest)),
      client_(options_.storage, clock_),
      mirror_{.tree = tree_,
              .manifest = *manifest_,
              .client = client_,
              .guard = guard_,
              .clock = clock_,
              .bucket = options_.bucket,
              .prefix = options_.prefix,
              .root_inode = root_inode_,
              .bytes_moved = bytes_moved_} {}

FileSync::~FileSync() {
  stop();
}

void FileSync::start() {
  const std::lock_guard lock(lifecycle_);
  if (started_) return;
  started_ = true;
  start_threads();
}

void FileSync::stop() {
  client_.cancel();
  const std::lock_guard lock(lifecycle_);
  stop_threads();
  started_ = false;
  if (verifier_.joinable()) verifier_.join();
}

void FileSync::start_threads() {
  stopping_ = false;
  comparison_.begin_anew();
  ever_passed_ = false;
  dirty_.clear();
  guard_.clear();
  errors_.with([](auto& errors) { errors.clear(); });
  passes_.change([](Passes& passes) {
    passes.wanted = passes.completed + 1;
    passes.running = false;
  });
  for (int i = 0; i < options_.lanes; i++) threads_.emplace_back([this] { run_lane(); });
  if (direction_ == Direction::kToBucket) threads_.emplace_back([this] { run_watcher(); });
  threads_.emplace_back([this] { run_scanner(); });
}

void FileSync::stop_threads() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void FileSync::fail(const std::string& part, const Error& error) {
  const bool is_new =
      errors_.with([&](auto& errors) { return errors.insert_or_assign(part, error).second; });
  if (is_new) log_warn("file mirror is held up", {{"part", part}, {"error", error.message()}});
}
void FileSync::succeed(const std::string& part) {
  errors_.with([&](auto& errors) { errors.erase(part); });
}

Duration FileSync::left(Mono deadline) const {
  return std::max<Duration>(deadline - clock_.now(), Duration(0));
}

// ---------------------------------------------------------------- lanes

Result<Carried> FileSync::carry(const DirtyTask& task) {
  if (direction_ == Direction::kToDisk) return FileDownloader(mirror_).carry(task.path);
  // A half-written file is waited for, but not one that is open for ever; at a barrier the writers
  // that matter have ended.
  const bool enough = task.age > kOpenPatience || (barriers_ > 0 && task.attempts >= kBarrierLooks);
  return FileUploader(mirror_).carry(task.path, enough ? OpenFiles::kTake : OpenFiles::kWait);
}

void FileSync::run_lane() {
  while (!stopping_) {
    const auto task = dirty_.take(200ms);
    if (!task) continue;
    const auto carried = carry(*task);
    if (!carried) {
      handle_failure(*task, carried.error());
      continue;
    }
    succeed("storage");
    problems_.with([&](auto& problems) { problems.erase(task->path); });
    if (*carried == Carried::kSettled) {
      dirty_.settle(task->path);
    } else {
      dirty_.retry(task->path, kHotPause);
    }
  }
}

void FileSync::handle_failure(const DirtyTask& task, const Error& error) {
  if (error.code() == Code::kUnsupported || error.code() == Code::kInvalidArgument) {
    problems_.with([&](auto& problems) { problems[task.path] = error.message(); });
    dirty_.settle(task.path);
    return;
  }
  if (error.code() == Code::kUnavailable || error.code() == Code::kPermission ||
      error.code() == Code::kNotFound) {
    fail("storage", error);
  }
  if (error.code() == Code::kNotFound) {
    // The bucket itself may have been removed; the next attempt tells.
    (void)client_.ensure_bucket(options_.bucket);
  }
  dirty_.retry(task.path, pause_after(task.attempts));
}

// ---------------------------------------------------------------- watching

void FileSync::run_watcher() {
  while (!stopping_) {
    watch_once();
    for (int i = 0; i < 5 && !stopping_; i++) std::this_thread::sleep_for(100ms);
  }
}

// Watches until the root is gone or the mirror stops.
void FileSync::watch_once() {
  FileWatcher watcher(tree_);
  const auto started = watcher.start();
  if (!started) return fail("watcher", started.error());
  const auto inode = tree_.root_inode();
  if (!inode) return fail("watcher", inode.error());
  root_inode_ = *inode;
  succeed("watcher");
  want_pass();
  while (!stopping_) {
    has_unwatched_ = watcher.unwatched() > 0;
    const auto changes = watcher.poll(200ms);
    if (!changes) return fail("watcher", changes.error());
    apply(*changes);
    const auto now = tree_.root_inode();
    if (changes->root_gone || !now || *now != root_inode_) {
      return fail("watcher",
                  Error(Code::kNotFound, options_.path.string() + " is gone")
                      .with_remedy("bring the directory back; nothing is deleted meanwhile"));
    }
  }
}

void FileSync::apply(const TreeChanges& changes) {
  for (const std::string& path : changes.paths) dirty_.mark(path);
  for (const std::string& directory : changes.gone_below) {
    const auto paths = manifest_->paths_under(directory);
    if (!paths) {
      want_pass();
      continue;
    }
    for (const std::string& path : *paths) dirty_.mark(path);
  }
  if (changes.overflowed) {
    log_warn("too many changes at once; comparing everything");
    want_pass();
  }
  if (changes.cookies.empty()) return;
  cookies_.change(
      [&](auto& cookies) { cookies.insert(changes.cookies.begin(), changes.cookies.end()); });
}

// ---------------------------------------------------------------- comparing

void FileSync::want_pass() {
  passes_.change([](Passes& passes) { passes.wanted = passes.next_to_begin(); });
}

void FileSync::wait_for_pass_due() {
  Duration every = has_unwatched_ ? Duration(kScanUnwatchedEvery) : Duration(kScanEvery);
  if (direction_ == Direction::kToDisk) every = kPollEvery;
  const Mono due = clock_.now() + every;
  const auto wanted = [](const Passes& passes) { return passes.wanted > passes.completed; };
  while (!stopping_ && clock_.now() < due) {
    if (passes_.wait_for(100ms, wanted)) return;
  }
}

void FileSync::run_scanner() {
  tree_.sweep();
  while (!stopping_) {
    passes_.with([](Passes& passes) { passes.running = true; });
    const auto marked = direction_ == Direction::kToBucket ? comparison_.with_directory()
                                                           : comparison_.with_bucket();
    rate_.measure(clock_.now(), bytes_moved_);
    if (stopping_) return;
    if (!marked) {
      passes_.with([](Passes& passes) { passes.running = false; });
      fail("comparison", marked.error());
      const Mono again = clock_.now() + kPassAgain;
      while (!stopping_ && clock_.now() < again) std::this_thread::sleep_for(50ms);
      continue;
    }
    succeed("comparison");
    ever_passed_ = true;
    passes_.change([&](Passes& passes) {
      passes.completed++;
      passes.running = false;
      passes.marked_by_last = *marked;
      passes.wanted = std::max(passes.wanted, passes.completed);
    });
    wait_for_pass_due();
  }
}

// ---------------------------------------------------------------- barrier

Result<void> FileSync::wait_for_pass(Mono deadline) {
  const auto wanted = passes_.with([](const Passes& passes) { return passes.wanted; });
  while (clock_.now() < deadline && !stopping_) {
    const auto step = std::min<Duration>(left(deadline), 200ms);
    if (passes_.wait_for(step, [&](const Passes& p) { return p.completed >= wanted; })) return {};
  }
  return failure(Code::kTimeout, "the comparison of all files did not end in time", Retry::kSafe);
}

// Everything the kernel queued before the cookie has been marked when the cookie comes back.
Result<void> FileSync::see_cookie(Mono deadline) {
  static std::atomic<int> counter = 0;
  const std::string name = fmt::format("{}{}-{}", kBarrierPrefix, process_token(), counter++);
  const auto path = tree_.root() / name;
  const File file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.is_open()) {
    // Where we may not write, a complete comparison tells as well.
    want_pass();
    return wait_for_pass(deadline);
  }
  // An overflow may take the cookie along; then it causes a pass that begins after the cookie.
  const auto proof = passes_.with([](const Passes& p) { return p.next_to_begin(); });
  const auto seen = [&](const auto& cookies) { return cookies.contains(name); };
  bool is_seen = false;
  while (!is_seen && clock_.now() < deadline && !stopping_) {
    is_seen = cookies_.wait_for(std::min<Duration>(left(deadline), 200ms), seen) ||
              passes_.with([&](const Passes& p) { return p.completed >= proof; });
  }
  ::unlink(path.c_str());
  cookies_.with([&](auto& cookies) { cookies.erase(name); });
  if (is_seen) return {};
  return failure(Code::kTimeout, "the watcher did not see the barrier file");
}

Result<void> FileSync::drain(Mono deadline) {
  const std::int64_t mark = dirty_.newest_mark();
  while (!dirty_.wait_settled(mark, std::min<Duration>(left(deadline), 200ms))) {
    if (clock_.now() < deadline && !stopping_) continue;
    const auto path = dirty_.unsettled(mark);
    return failure(Code::kTimeout,
                   path ? "not carried over in time: " + *path : "not carried over in time",
                   Retry::kSafe);
  }
  if (guard_.held() == 0) return {};
  return std::unexpected(
      Error(Code::kConflict, fmt::format("{} deletes are held back", guard_.held()))
          .with_remedy("look whether the files are really meant to be gone, then start again with "
                       "confirm_deletes"));
}

// The files carried over last are still what the manifest says, on both sides.
Result<bool> FileSync::window_is_equal() {
  TRY(const auto paths, manifest_->newest(kWindowFiles));
  bool equal = true;
  for (const std::string& path : paths) {
    TRY(const auto record, manifest_->find(path));
    if (!record) continue;
    TRY(const auto status, tree_.status(path));
    const bool same = status && identity_of(*status) == record->identity;
    if (same) continue;
    dirty_.mark(path);
    equal = false;
  }
  return equal;
}

// Everything written to the directory before the call is marked when it returns.
Result<void> FileSync::see_all_writes(Mono deadline) {
  if (!ever_passed_ || has_unwatched_) {
    if (has_unwatched_) want_pass();
    TRY_VOID(wait_for_pass(deadline));
  }
  TRY_VOID(see_cookie(deadline));
  if (passes_.with([](const Passes& p) { return p.wanted > p.completed; })) {
    TRY_VOID(wait_for_pass(deadline));
  }
  return {};
}

// As a barrier sees what was written, without waiting until it is carried.
Result<void> FileSync::notice(Duration timeout) {
  if (errors_.with([](const auto& errors) { return errors.contains("watcher"); })) {
    return failure(Code::kUnavailable, "the directory is not watched now");
  }
  const Mono deadline = clock_.now() + timeout;
  if (direction_ == Direction::kToBucket) return see_all_writes(deadline);
  want_pass();
  return wait_for_pass(deadline);
}

Result<void> FileSync::barrier_to_bucket(Mono deadline) {
  while (true) {
    TRY_VOID(see_all_writes(deadline));
    TRY_VOID(drain(deadline));
    TRY(const bool equal, window_is_equal());
    if (equal) return {};
  }
}

Result<void> FileSync::barrier_to_disk(Mono deadline) {
  while (true) {
    want_pass();
    TRY_VOID(wait_for_pass(deadline));
    const auto marked = passes_.with([](const Passes& p) { return p.marked_by_last; });
    const bool was_clean = marked == 0 && dirty_.size() == 0;
    TRY_VOID(drain(deadline));
    if (was_clean) return {};
  }
}

Result<BarrierReport> FileSync::barrier(Duration timeout) {
  const Mono begun = clock_.now();
  const Mono deadline = begun + timeout;
  if (stopping_) return failure(Code::kConflict, "the mirror is stopped");
  barriers_++;
  const auto passed =
      direction_ == Direction::kToBucket ? barrier_to_bucket(deadline) : barrier_to_disk(deadline);
  barriers_--;
  if (!passed) return std::unexpected(passed.error());
  return BarrierReport{.files = manifest_->totals().files, .took = clock_.now() - begun};
}

// ---------------------------------------------------------------- control

Result<void> FileSync::set_direction(Direction direction) {
  const std::lock_guard lock(lifecycle_);
  if (direction_ == direction) return {};
  if (started_ && !dirty_.wait_settled(dirty_.newest_mark(), kDrainOnSwitch)) {
    log_warn("direction is switched with files not carried over", {{"files", dirty_.size()}});
  }
  const auto name = direction == Direction::kToDisk ? "to_disk" : "to_bucket";
  TRY_VOID(manifest_->set_value(std::string(kDirectionValue), name));
  TRY_VOID(manifest_->set_value(std::string(kWrittenBackValue), "yes"));
  stop_threads();
  direction_ = direction;
  if (started_) start_threads();
  log_info("file mirror turned", {{"direction", name}});
  return {};
}

Result<DiscardReport> FileSync::discard(Duration timeout) {
  stop();
  TRY(const auto written_back, manifest_->value(std::string(kWrittenBackValue)));
  if (!written_back.empty())
    return DiscardReport{.removed = 0, .kept = manifest_->totals().files, .done = true};
  s3::Client client(options_.storage, clock_);  // the mirror's own was cancelled for good
  return remove_uploaded(client, {options_.bucket, options_.prefix}, *manifest_, clock_, timeout);
}

void FileSync::confirm_deletes(std::size_t most) {
  for (const std::string& path : guard_.confirm(most)) dirty_.mark(path);
}

void FileSync::run_verify(Duration patience) {
  FileVerifier verifier({.mirror = mirror_,
                         .dirty = dirty_,
                         .stopping = stopping_,
                         .notice = [this](Duration timeout) { return notice(timeout); },
                         .patience = patience});
  auto report = verifier.run();
  VerifyStatus status;
  if (report) {
    status.state = VerifyState::kDone;
    status.report = *std::move(report);
  } else {
    status.state = VerifyState::kFailed;
    status.error = report.error();
  }
  verification_.change([&](Verification& verification) {
    verification.running = false;
    verification.result = std::move(status);
  });
}

VerifyStatus FileSync::verify(Duration timeout) {
  {
    const std::lock_guard lock(lifecycle_);
    const bool begins = verification_.with([&](Verification& verification) {
      if (verification.running || verification.result || stopping_) return false;
      return verification.running = true;
    });
    if (begins) {
      if (verifier_.joinable()) verifier_.join();
      verifier_ = std::thread([this, patience = std::max<Duration>(timeout, kVerifyPatienceMin)] {
        run_verify(patience);
      });
    }
  }
  verification_.wait_for(timeout, [](const Verification& v) { return v.result.has_value(); });
  return verification_.with([](Verification& verification) {
    VerifyStatus status = verification.result.value_or(VerifyStatus{});
    verification.result.reset();
    return status;
  });
}

SyncStatus FileSync::status() {
  rate_.measure(clock_.now(), bytes_moved_);
  SyncStatus status;
  status.direction = direction_;
  status.dirty = dirty_.stats();
  status.held_deletes = guard_.held();
  const ManifestTotals totals = manifest_->totals();
  status.files_done = totals.files;
  status.bytes_done = totals.bytes;
  status.files_total = totals.files + status.dirty.new_files;
  status.bytes_total = totals.bytes + (status.dirty.new_files > 0 ? status.dirty.bytes : 0);
  status.bytes_per_s = rate_.bytes_per_s();
  if (status.dirty.paths == 0) {
    status.eta_s = 0;
  } else if (status.bytes_per_s > 1) {
    status.eta_s = static_cast<std::int64_t>(
        std::ceil(static_cast<double>(status.dirty.bytes) / status.bytes_per_s));
  }
  problems_.with([&](const auto& problems) {
    for (const auto& [path, why] : problems) {
      if (status.problems.size() < kProblemsShown) status.problems.push_back({path, why, "", ""});
    }
  });
  errors_.with([&](const auto& errors) {
    if (!errors.empty()) status.error = errors.begin()->second;
  });
  if (status.held_deletes > 0 && !status.error) {
    status.error =
        Error(Code::kConflict, fmt::format("{} deletes are held back", status.held_deletes))
            .with_remedy("start again with confirm_deletes if they are meant");
  }
  status.state = !ever_passed_ ? "scanning" : status.dirty.paths > 0 ? "uploading" : "watching";
  if (errors_.with([](const auto& errors) { return errors.contains("watcher"); })) {
    status.state = "failed";
  }
  if (stopping_) status.state = "stopped";
  return status;
}

}  // namespace banyan::files
