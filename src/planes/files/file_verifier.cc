#include "planes/files/file_verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "wire/s3/encoding.h"

namespace banyan::files {
namespace {

constexpr auto kPause = std::chrono::milliseconds(100);
// Longer than a file that stays open is waited for.
constexpr auto kStalled = std::chrono::seconds(30);
constexpr auto kNoticePatience = std::chrono::minutes(2);
constexpr std::size_t kDifferencesMax = 1000;
constexpr std::int64_t kReadBytes = 1 << 20;

std::string text_of(const FileIdentity& file) {
  const Wall written{std::chrono::nanoseconds(file.mtime_ns)};
  return fmt::format("{} bytes, written {}", file.size, rfc3339(written));
}

}  // namespace

void Differences::add(Difference difference) {
  total++;
  if (shown.size() < kDifferencesMax) shown.push_back(std::move(difference));
}

Result<VerifyReport> FileVerifier::run() {
  VerifyReport report;
  // The first comparison makes the bucket; when it does not succeed in time, what follows tells
  // why.
  (void)parts_.notice(std::min<Duration>(parts_.patience, kNoticePatience));
  TRY_VOID(compare_all(report));
  TRY_VOID(settle(report));
  return report;
}

Result<void> FileVerifier::compare_all(VerifyReport& report) {
  std::unordered_map<std::string, Seen> objects;
  TRY_VOID(list_all(mirror_, [&](const s3::RemoteObject& object) {
    if (auto path = path_of_key(mirror_.prefix, object.key)) {
      objects[*std::move(path)] = {.etag = object.etag, .size = object.size};
    } else if (!object.key.ends_with('/')) {
      report.different.add({object.key, "the key cannot be a file name", "", ""});
    }
  }));
  std::optional<Error> failed;
  const auto& stopping = parts_.stopping;
  TRY_VOID(
      mirror_.tree.walk("", [&](const std::string& path, Kind kind, const struct stat& status) {
        if (kind != Kind::kFile || stopping || failed) return !stopping && !failed;
        const auto object = objects.find(path);
        const auto look = compare(path, object == objects.end() ? nullptr : &object->second);
        if (!look) failed = look.error();
        if (look && !look->difference.why.empty()) suspects_[path];
        if (object != objects.end()) objects.erase(object);
        report.files++;
        report.bytes += status.st_size;
        return true;
      }));
  if (failed) return std::unexpected(*std::move(failed));
  if (stopping) return failure(Code::kCancelled, "the verification was stopped");
  for (const auto& [path, object] : objects) suspects_[path];
  return {};
}

Result<FileVerifier::Look> FileVerifier::compare(const std::string& path, const Seen* object) {
  Look look{.difference = {path, "", "nothing", "nothing"}, .file = {}, .etag = {}};
  if (object != nullptr) {
    look.etag = object->etag;
    look.difference.bucket = fmt::format("{} bytes, ETag {}", object->size, object->etag);
  }
  const auto file = mirror_.tree.open(path);
  if (!file && file.error().code() != Code::kNotFound) {
    look.difference.why = file.error().message();
    return look;
  }
  if (file) {
    TRY(const auto status, file->status());
    look.file = identity_of(status);
    look.difference.disk = text_of(*look.file);
  }
  if (file && object != nullptr) {
    TRY_VOID(compare_content(look, *file, *object));
  } else if (file || object != nullptr) {
    look.difference.why = file ? "only on disk" : "only in the bucket";
  }
  return look;
}

Result<void> FileVerifier::compare_content(Look& look, const File& file, const Seen& object) {
  auto& [path, why, disk, bucket] = look.difference;
  if (look.file->size != object.size) {
    why = "the sizes differ";
    return {};
  }
  TRY(const auto record, mirror_.manifest.find(path));
  const bool multipart = object.etag.find('-') != std::string::npos;
  const std::int64_t part_bytes = multipart && record ? record->part_bytes : 0;
  bool same = false;
  if (multipart && part_bytes == 0) {
    TRY(same, same_bytes(file, path));
  } else {
    TRY(const auto etag, content_etag(file, part_bytes));
    same = etag == object.etag;
    disk += ", ETag would be " + etag;
  }
  TRY(const auto after, file.status());
  if (identity_of(after) != *look.file) {
    why = "it is being written";
    look.file = identity_of(after);
  } else if (!same) {
    why = "the contents differ";
  }
  return {};
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

Result<FileVerifier::Look> FileVerifier::look_again(const std::string& path) {
  const auto address = mirror_.address(path);
  if (!address)
    return Look{.difference = {path, address.error().message(), "", ""}, .file = {}, .etag = {}};
  const auto object = mirror_.client.head(*address);
  if (!object && object.error().code() != Code::kNotFound) return std::unexpected(object.error());
  if (!object) return compare(path, nullptr);
  const Seen seen{.etag = object->etag, .size = object->size};
  return compare(path, &seen);
}

// Looks at every suspect that nobody has in hand. One that shows the same as the last time, though
// what differed then would have been noticed and carried since, is a difference.
Result<void> FileVerifier::look_at_suspects(bool noticed, VerifyReport& report) {
  for (auto at = suspects_.begin(); at != suspects_.end();) {
    if (parts_.stopping) return failure(Code::kCancelled, "the verification was stopped");
    auto& [path, before] = *at;
    if (parts_.dirty.is_dirty(path)) {
      before = {};
      ++at;
      continue;
    }
    TRY(auto look, look_again(path));
    const bool was_seen = !before.difference.why.empty();
    const bool proven = noticed && was_seen && look.shows_the_same_as(before);
    if (look.difference.why.empty() || proven) {
      if (proven) report.different.add(std::move(look.difference));
      at = suspects_.erase(at);
      continue;
    }
    before = std::move(look);
    ++at;
  }
  return {};
}

Result<void> FileVerifier::settle(VerifyReport& report) {
  const Clock& clock = mirror_.clock;
  const Mono end = clock.now() + parts_.patience;
  Mono stalled = clock.now() + kStalled;
  while (!suspects_.empty()) {
    const auto left = std::max<Duration>(end - clock.now(), kPause);
    const bool noticed = parts_.notice(std::min<Duration>(left, kNoticePatience)).has_value();
    const std::size_t count = suspects_.size();
    TRY_VOID(look_at_suspects(noticed, report));
    if (suspects_.size() < count) stalled = clock.now() + kStalled;
    if (clock.now() >= std::min(end, stalled)) break;
    if (!suspects_.empty()) std::this_thread::sleep_for(kPause);
  }
  return list_unsettled(report);
}

Result<void> FileVerifier::list_unsettled(VerifyReport& report) {
  for (const auto& [path, ignored] : suspects_) {
    if (report.unsettled.shown.size() >= kDifferencesMax) {
      report.unsettled.add({});
      continue;
    }
    TRY(auto look, look_again(path));
    if (look.difference.why.empty()) continue;
    look.difference.why = "still being carried: " + look.difference.why;
    report.unsettled.add(std::move(look.difference));
  }
  return {};
}

}  // namespace banyan::files
