#include "planes/files/file_verifier.h"

#include <algorithm>
#include <thread>

#include "wire/s3/encoding.h"

namespace banyan::files {
namespace {

constexpr int kRoundsMax = 40;
constexpr auto kPause = std::chrono::milliseconds(250);
constexpr std::size_t kDifferencesMax = 1000;
constexpr std::int64_t kReadBytes = 1 << 20;

}  // namespace

Result<VerifyReport> FileVerifier::run() {
  VerifyReport report;
  std::vector<Difference> foreign;
  TRY_VOID(list_all(mirror_, [&](const s3::RemoteObject& object) {
    if (auto path = path_of_key(mirror_.prefix, object.key)) {
      objects_[*std::move(path)] = {.etag = object.etag, .size = object.size};
    } else if (!object.key.ends_with('/')) {
      foreign.push_back({object.key, "the key cannot be a file name"});
    }
  }));
  std::optional<Error> failed;
  TRY_VOID(
      mirror_.tree.walk("", [&](const std::string& path, Kind kind, const struct stat& status) {
        if (kind != Kind::kFile || stopping_ || failed) return !stopping_ && !failed;
        const auto object = objects_.find(path);
        const auto why = compare(path, object == objects_.end() ? nullptr : &object->second);
        if (!why) failed = why.error();
        if (why && !why->empty()) suspects_.push_back(path);
        if (object != objects_.end()) objects_.erase(object);
        report.files++;
        report.bytes += status.st_size;
        return true;
      }));
  if (failed) return std::unexpected(*std::move(failed));
  if (stopping_) return failure(Code::kCancelled, "the verification was stopped");
  for (const auto& [path, object] : objects_) suspects_.push_back(path);
  TRY_VOID(settle_differences(report));
  report.different.insert(report.different.end(), foreign.begin(), foreign.end());
  return report;
}

Result<std::string> FileVerifier::compare(const std::string& path, const Seen* object) {
  const auto key = key_of_path(mirror_.prefix, path);
  if (!key) return key.error().message();
  if (object == nullptr) return std::string("only on disk");
  return compare_content(path, *object);
}

Result<std::string> FileVerifier::compare_content(const std::string& path, const Seen& object) {
  const auto file = mirror_.tree.open(path);
  if (!file) return file.error().message();
  TRY(const auto before, file->status());
  if (before.st_size != object.size) return std::string("the sizes differ");
  TRY(const auto record, mirror_.manifest.find(path));
  const bool multipart = object.etag.find('-') != std::string::npos;
  const std::int64_t part_bytes = multipart && record ? record->part_bytes : 0;
  bool same = false;
  if (multipart && part_bytes == 0) {
    TRY(same, same_bytes(*file, path));
  } else {
    TRY(const auto etag, content_etag(*file, part_bytes));
    same = etag == object.etag;
  }
  TRY(const auto after, file->status());
  if (identity_of(before) != identity_of(after)) return std::string("it is being written");
  return same ? std::string() : std::string("the contents differ");
}

// For objects others uploaded in parts of sizes we do not know.
Result<bool> FileVerifier::same_bytes(const File& file, const std::string& path) {
  std::int64_t offset = 0;
  bool same = true;
  const s3::ByteSink sink = [&](std::string_view bytes) -> Result<void> {
    TRY(const auto mine, file.read(offset, static_cast<std::int64_t>(bytes.size())));
    same = same && mine == bytes;
    offset += static_cast<std::int64_t>(bytes.size());
    return {};
  };
  const std::function<void()> restart = [&] {
    offset = 0;
    same = true;
  };
  TRY(const auto address, mirror_.address(path));
  TRY_VOID(mirror_.client.get(address, sink, restart));
  TRY(const auto beyond, file.read(offset, kReadBytes));
  return same && beyond.empty();
}

Result<std::string> FileVerifier::look_again(const std::string& path) {
  TRY(const auto status, mirror_.tree.status(path));
  const bool on_disk = status && S_ISREG(status->st_mode);
  const auto address = mirror_.address(path);
  if (!address) return address.error().message();
  const auto object = mirror_.client.head(*address);
  if (!object && object.error().code() != Code::kNotFound) return std::unexpected(object.error());
  if (!on_disk) return object ? std::string("only in the bucket") : std::string();
  if (!object) return std::string("only on disk");
  return compare_content(path, {.etag = object->etag, .size = object->size});
}

Result<void> FileVerifier::settle_differences(VerifyReport& report) {
  std::vector<Difference> still;
  for (int round = 0; round < kRoundsMax && !suspects_.empty(); round++) {
    still.clear();
    bool busy = false;
    for (const std::string& path : suspects_) {
      if (stopping_) return failure(Code::kCancelled, "the verification was stopped");
      const bool was_dirty = dirty_.is_dirty(path);
      TRY(auto why, look_again(path));
      if (why.empty()) continue;
      busy |= was_dirty || why == "it is being written" || round < 2;
      if (still.size() < kDifferencesMax) still.push_back({path, std::move(why)});
    }
    suspects_.clear();
    for (const Difference& difference : still) suspects_.push_back(difference.path);
    if (!busy || still.empty()) break;
    std::this_thread::sleep_for(kPause);
  }
  report.different = std::move(still);
  return {};
}

}  // namespace banyan::files
