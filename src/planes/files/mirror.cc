#include "planes/files/mirror.h"

#include <algorithm>

#include "wire/s3/encoding.h"

namespace banyan::files {
namespace {

constexpr std::int64_t kReadBytes = 1 << 20;

// MD5 of `count` bytes from `offset`; fewer at the end.
Result<std::string> md5_of(const File& file, std::int64_t offset, std::int64_t count,
                           std::int64_t& read_bytes) {
  s3::Digest digest(s3::Digest::Kind::kMd5);
  read_bytes = 0;
  while (read_bytes < count) {
    TRY(const auto bytes, file.read(offset + read_bytes, std::min(kReadBytes, count - read_bytes)));
    if (bytes.empty()) break;
    digest.update(bytes);
    read_bytes += static_cast<std::int64_t>(bytes.size());
  }
  return digest.finish();
}

}  // namespace

Result<void> list_all(const Mirror& mirror,
                      const std::function<void(const s3::RemoteObject&)>& each) {
  s3::ListRequest request{.prefix = mirror.prefix, .token = {}, .after = {}};
  while (true) {
    TRY(auto page, mirror.client.list(mirror.bucket, request));
    for (const s3::RemoteObject& object : page.objects) each(object);
    if (page.next_token.empty()) return {};
    request.token = std::move(page.next_token);
  }
}

Result<std::string> content_etag(const File& file, std::int64_t part_bytes) {
  std::int64_t got = 0;
  if (part_bytes == 0) {
    TRY(const auto digest, md5_of(file, 0, std::numeric_limits<std::int64_t>::max(), got));
    return hex(digest);
  }
  std::string digests;
  int parts = 0;
  for (std::int64_t offset = 0;; offset += part_bytes) {
    TRY(const auto digest, md5_of(file, offset, part_bytes, got));
    if (got == 0 && parts > 0) break;
    digests += digest;
    parts++;
    if (got < part_bytes) break;
  }
  return hex(s3::md5(digests)) + "-" + std::to_string(parts);
}

}  // namespace banyan::files
