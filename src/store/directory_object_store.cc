#include "store/directory_object_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/log.h"

namespace banyan::store {
namespace {

namespace fs = std::filesystem;

constexpr auto kSchema = R"(
CREATE TABLE IF NOT EXISTS bucket(name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS object(bucket TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL,
  etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, headers TEXT NOT NULL, blobs TEXT NOT NULL,
  PRIMARY KEY(bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upload(id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL,
  headers TEXT NOT NULL, created_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part(upload TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL,
  blob TEXT NOT NULL, modified_ms INTEGER NOT NULL, PRIMARY KEY(upload, number)) WITHOUT ROWID;
)";
constexpr int kOpenAttempts = 5;
constexpr int kListChunk = 1000;

std::unexpected<Error> errno_failure(std::string_view attempt, const fs::path& path) {
  const int number = errno;
  const Code code = number == ENOENT ? Code::kNotFound : Code::kInternal;
  return failure(code, std::string(attempt) + " " + path.string() + ": " + std::strerror(number));
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string random_id() {
  std::array<unsigned char, 16> bytes{};
  while (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
  }
  std::string id;
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

// Metadata may hold any bytes a client sent; replaced bytes would change it, so they are kept as
// Latin-1 code points inside the JSON text.
std::string widened(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | (byte >> 6));
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}
std::string narrowed(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i++) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80 || i + 1 >= text.size()) {
      bytes += text[i];
    } else {
      bytes += static_cast<char>((lead << 6) | (static_cast<unsigned char>(text[++i]) & 0x3f));
    }
  }
  return bytes;
}

std::string encode_headers(const ObjectHeaders& headers) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : headers) json[widened(name)] = widened(value);
  return json.dump();
}
ObjectHeaders decode_headers(const std::string& text) {
  ObjectHeaders headers;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return headers;
  for (const auto& [name, value] : json.items()) {
    if (value.is_string()) headers[narrowed(name)] = narrowed(value.get_ref<const std::string&>());
  }
  return headers;
}

// "id:size,id:size"
std::string encode_blobs(const std::vector<Blob>& blobs) {
  std::string text;
  for (const Blob& blob : blobs) {
    text += (text.empty() ? "" : ",") + blob.id + ":" + std::to_string(blob.size);
  }
  return text;
}
std::vector<Blob> decode_blobs(std::string_view text) {
  std::vector<Blob> blobs;
  while (!text.empty()) {
    const auto item = text.substr(0, text.find(','));
    const auto colon = item.find(':');
    if (colon == std::string_view::npos) break;
    blobs.push_back({.id = std::string(item.substr(0, colon)),
                     .size = std::atoll(std::string(item.substr(colon + 1)).c_str())});
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
  return blobs;
}

Result<void> sync_directory(const fs::path& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) return errno_failure("syncing", path);
  return {};
}

Result<Descriptor> lock_root(const fs::path& root) {
  const fs::path path = root / "lock";
  Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return errno_failure("opening", path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return failure(Code::kConflict, "another process serves " + root.string());
  }
  return lock;
}

constexpr auto kObjectColumns = "key, size, etag, modified_ms, headers, blobs";

ObjectInfo read_object(const Statement& row) {
  return {.key = row.text(0),
          .size = row.integer(1),
          .etag = row.text(2),
          .modified_ms = row.integer(3),
          .headers = decode_headers(row.text(4)),
          .blobs = decode_blobs(row.text(5))};
}

Result<ObjectInfo> find_object(Database& db, const std::string& bucket, const std::string& key) {
  TRY(auto rows, db.prepare(std::string("SELECT ") + kObjectColumns +
                            " FROM object WHERE bucket = ? AND key = ?"));
  TRY_VOID(rows.bind(bucket, key));
  TRY(const bool found, rows.step());
  if (!found) return failure(Code::kNotFound, "no object " + key + " in " + bucket);
  return read_object(rows);
}

bool holds(const WriteCondition& when, const Result<ObjectInfo>& existing) {
  if (when.if_match && (!existing || (*when.if_match != "*" && *when.if_match != existing->etag))) {
    return false;
  }
  return !when.if_none_match || !existing ||
         (*when.if_none_match != "*" && *when.if_none_match != existing->etag);
}

// Replaces the row and returns what the old object consisted of. Inside a transaction.
Result<std::vector<Blob>> replace_object(Database& db, const std::string& bucket,
                                         const ObjectInfo& info, const WriteCondition& when) {
  const auto existing = find_object(db, bucket, info.key);
  if (!existing && existing.error().code() != Code::kNotFound) {
    return std::unexpected(existing.error());
  }
  if (!holds(when, existing)) return failure(Code::kConflict, "the precondition does not hold");
  TRY_VOID(db.run("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)", bucket, info.key,
                  info.size, info.etag, info.modified_ms, encode_headers(info.headers),
                  encode_blobs(info.blobs)));
  return existing ? existing->blobs : std::vector<Blob>{};
}

// The least string greater than every string that starts with `prefix`; empty when there is none.
std::string successor(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

// Walks the keys of a bucket in order and builds one page.
class Lister {
 public:
  Lister(Database& db, const std::string& bucket, const ListQuery& query)
      : db_(db), bucket_(bucket), query_(query), seek_(query.prefix) {
    if (query.after >= query.prefix) skip_past(query.after);
  }
  Result<ListPage> page() {
    while (!done_) TRY_VOID(chunk());
    return std::move(page_);
  }

 private:
  // Continues after `last`: past every key below it when it is a common prefix.
  void skip_past(const std::string& last) {
    const bool is_prefix = !query_.delimiter.empty() && last.size() > query_.prefix.size() &&
                           last.ends_with(query_.delimiter) && last.starts_with(query_.prefix);
    seek_ = is_prefix ? successor(last) : last + '\0';
    done_ = seek_.empty();
  }
  Result<void> chunk() {
    TRY(auto rows, db_.prepare("SELECT key, size, etag, modified_ms FROM object "
                               "WHERE bucket = ? AND key >= ? ORDER BY key LIMIT ?"));
    TRY_VOID(rows.bind(bucket_, seek_, kListChunk));
    const std::string started_at = seek_;
    while (!done_) {
      TRY(const bool row, rows.step());
      if (!row) break;
      if (!take(rows)) return {};
    }
    if (seek_ == started_at) done_ = true;
    return {};
  }
  // False when the walk has to seek again (or is done).
  bool take(const Statement& row) {
    std::string key = row.text(0);
    if (!key.starts_with(query_.prefix)) return finish(false);
    if (full()) return finish(true);
    const auto at = query_.delimiter.empty() ? std::string::npos
                                             : key.find(query_.delimiter, query_.prefix.size());
    if (at != std::string::npos) {
      page_.common_prefixes.push_back(key.substr(0, at + query_.delimiter.size()));
      page_.last = page_.common_prefixes.back();
      seek_ = successor(page_.last);
      return false;
    }
    page_.last = key;
    seek_ = key + '\0';
    page_.objects.push_back({.key = std::move(key),
                             .size = row.integer(1),
                             .etag = row.text(2),
                             .modified_ms = row.integer(3),
                             .headers = {},
                             .blobs = {}});
    return true;
  }
  bool full() const {
    return static_cast<int>(page_.objects.size() + page_.common_prefixes.size()) >= query_.max_keys;
  }
  bool finish(bool truncated) {
    page_.truncated = truncated && query_.max_keys > 0;
    done_ = true;
    return false;
  }

  Database& db_;
  const std::string& bucket_;
  const ListQuery& query_;
  std::string seek_;
  ListPage page_;
  bool done_ = false;
};

Result<void> collect_blob_ids(Database& db, std::unordered_set<std::string>& ids) {
  for (const auto* sql : {"SELECT blobs FROM object", "SELECT blob FROM part"}) {
    TRY(auto rows, db.prepare(sql));
    while (true) {
      TRY(const bool row, rows.step());
      if (!row) break;
      for (Blob& blob : decode_blobs(rows.text(0))) ids.insert(std::move(blob.id));
    }
  }
  return {};
}

UploadInfo read_upload(const Statement& row) {
  return {.id = row.text(0),
          .key = row.text(1),
          .headers = decode_headers(row.text(2)),
          .created_ms = row.integer(3)};
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

BlobWriter::~BlobWriter() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<void> BlobWriter::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno_failure("writing", path_);
    bytes.remove_prefix(static_cast<std::size_t>(written));
    blob_.size += written;
  }
  return {};
}

Result<Blob> BlobWriter::finish() {
  if (::fdatasync(file_.get()) != 0) return errno_failure("syncing", path_);
  TRY_VOID(sync_directory(path_.parent_path()));
  return blob_;
}

Result<std::size_t> OpenObject::read(std::int64_t offset, std::span<char> into) const {
  for (std::size_t i = 0; i < files_.size(); i++) {
    if (offset >= info_.blobs[i].size) {
      offset -= info_.blobs[i].size;
      continue;
    }
    const ssize_t got = ::pread(files_[i].get(), into.data(), into.size(), offset);
    if (got <= 0) return failure(Code::kCorruption, "content of " + info_.key + " is cut short");
    return static_cast<std::size_t>(got);
  }
  return 0;
}

Result<std::unique_ptr<DirectoryObjectStore>> DirectoryObjectStore::open(const fs::path& root) {
  std::error_code error;
  fs::create_directories(root / "data", error);
  if (error)
    return failure(Code::kPermission, "creating " + root.string() + ": " + error.message());
  for (int i = 0; i < 256; i++) {
    fs::create_directory(root / "data" / fmt::format("{:02x}", i), error);
  }
  TRY(auto lock, lock_root(root));
  TRY(auto database, Database::open((root / "objects.db").string(), kSchema));
  auto store =
      std::make_unique<DirectoryObjectStore>(Private{}, root, std::move(database), std::move(lock));
  TRY_VOID(store->sweep());
  return store;
}

fs::path DirectoryObjectStore::blob_path(const std::string& id) const {
  return root_ / "data" / id.substr(0, 2) / id;
}

Result<void> DirectoryObjectStore::sweep() {
  std::unordered_set<std::string> wanted;
  TRY_VOID(database_.with([&](Database& db) { return collect_blob_ids(db, wanted); }));
  std::error_code error;
  long swept = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root_ / "data", error)) {
    if (!entry.is_regular_file(error) || wanted.contains(entry.path().filename().string()))
      continue;
    fs::remove(entry.path(), error);
    swept++;
  }
  if (swept > 0) log_info("unreferenced content swept", {{"files", swept}});
  return {};
}

void DirectoryObjectStore::drop(const std::vector<Blob>& blobs) const {
  // A file that stays behind is swept at the next start.
  for (const Blob& blob : blobs) ::unlink(blob_path(blob.id).c_str());
}

Result<void> DirectoryObjectStore::create_bucket(const std::string& bucket) {
  return database_.with(
      [&](Database& db) { return db.run("INSERT INTO bucket VALUES (?, ?)", bucket, now_ms()); });
}

Result<void> DirectoryObjectStore::delete_bucket(const std::string& bucket) {
  return database_.with([&](Database& db) {
    return db.transaction([&]() -> Result<void> {
      TRY(auto rows, db.prepare("SELECT 1 FROM object WHERE bucket = ? LIMIT 1"));
      TRY_VOID(rows.bind(bucket));
      TRY(const bool occupied, rows.step());
      if (occupied) return failure(Code::kConflict, "bucket " + bucket + " is not empty");
      TRY_VOID(db.run("DELETE FROM part WHERE upload IN (SELECT id FROM upload WHERE bucket = ?)",
                      bucket));
      TRY_VOID(db.run("DELETE FROM upload WHERE bucket = ?", bucket));
      return db.run("DELETE FROM bucket WHERE name = ?", bucket);
    });
  });
}

Result<std::vector<BucketInfo>> DirectoryObjectStore::buckets() {
  return database_.with([&](Database& db) -> Result<std::vector<BucketInfo>> {
    std::vector<BucketInfo> all;
    TRY(auto rows, db.prepare("SELECT name, created_ms FROM bucket ORDER BY name"));
    while (true) {
      TRY(const bool row, rows.step());
      if (!row) return all;
      all.push_back({.name = rows.text(0), .created_ms = rows.integer(1)});
    }
  });
}

Result<bool> DirectoryObjectStore::has_bucket(const std::string& bucket) {
  return database_.with([&](Database& db) -> Result<bool> {
    TRY(auto rows, db.prepare("SELECT 1 FROM bucket WHERE name = ?"));
    TRY_VOID(rows.bind(bucket));
    return rows.step();
  });
}

Result<BlobWriter> DirectoryObjectStore::new_blob() {
  std::string id = random_id();
  fs::path path = blob_path(id);
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.get() < 0) return errno_failure("creating", path);
  return BlobWriter(std::move(path), std::move(id), std::move(file));
}

Result<void> DirectoryObjectStore::put(const std::string& bucket, const ObjectInfo& info,
                                       const WriteCondition& when) {
  std::vector<Blob> old;
  TRY_VOID(database_.with([&](Database& db) {
    return db.transaction([&]() -> Result<void> {
      TRY(old, replace_object(db, bucket, info, when));
      return {};
    });
  }));
  drop(old);
  return {};
}

Result<ObjectInfo> DirectoryObjectStore::find(const std::string& bucket, const std::string& key) {
  return database_.with([&](Database& db) { return find_object(db, bucket, key); });
}

Result<OpenObject> DirectoryObjectStore::open_object(const std::string& bucket,
                                                     const std::string& key) {
  // Between finding the object and opening its content it may be replaced: then look again.
  for (int attempt = 0; attempt < kOpenAttempts; attempt++) {
    OpenObject open;
    TRY(open.info_, find(bucket, key));
    for (const Blob& blob : open.info_.blobs) {
      open.files_.emplace_back(::open(blob_path(blob.id).c_str(), O_RDONLY | O_CLOEXEC));
      if (open.files_.back().get() < 0) break;
    }
    if (open.files_.empty() || open.files_.back().get() >= 0) return open;
  }
  return failure(Code::kCorruption, "content of " + key + " is missing");
}

Result<void> DirectoryObjectStore::remove(const std::string& bucket, const std::string& key) {
  const auto removed = database_.with([&](Database& db) -> Result<ObjectInfo> {
    TRY(auto info, find_object(db, bucket, key));
    TRY_VOID(db.run("DELETE FROM object WHERE bucket = ? AND key = ?", bucket, key));
    return info;
  });
  if (!removed && removed.error().code() == Code::kNotFound) return {};
  if (!removed) return std::unexpected(removed.error());
  drop(removed->blobs);
  return {};
}

Result<std::vector<Blob>> DirectoryObjectStore::link_blobs(const std::vector<Blob>& blobs) {
  std::vector<Blob> copies;
  for (const Blob& blob : blobs) {
    const Blob copy{.id = random_id(), .size = blob.size};
    const fs::path to = blob_path(copy.id);
    if (::link(blob_path(blob.id).c_str(), to.c_str()) != 0) {
      drop(copies);
      return errno_failure("linking", to);
    }
    copies.push_back(copy);
    TRY_VOID(sync_directory(to.parent_path()));
  }
  return copies;
}

Result<ListPage> DirectoryObjectStore::list(const std::string& bucket, const ListQuery& query) {
  return database_.with([&](Database& db) { return Lister(db, bucket, query).page(); });
}

Result<std::string> DirectoryObjectStore::create_upload(const std::string& bucket,
                                                        const std::string& key,
                                                        const ObjectHeaders& headers) {
  std::string id = random_id();
  TRY_VOID(database_.with([&](Database& db) {
    return db.run("INSERT INTO upload VALUES (?, ?, ?, ?, ?)", id, bucket, key,
                  encode_headers(headers), now_ms());
  }));
  return id;
}

Result<UploadInfo> DirectoryObjectStore::find_upload(const std::string& bucket,
                                                     const std::string& id) {
  return database_.with([&](Database& db) -> Result<UploadInfo> {
    TRY(auto rows, db.prepare("SELECT id, key, headers, created_ms FROM upload "
                              "WHERE id = ? AND bucket = ?"));
    TRY_VOID(rows.bind(id, bucket));
    TRY(const bool found, rows.step());
    if (!found) return failure(Code::kNotFound, "no upload " + id);
    return read_upload(rows);
  });
}

Result<std::vector<UploadInfo>> DirectoryObjectStore::uploads(const std::string& bucket) {
  return database_.with([&](Database& db) -> Result<std::vector<UploadInfo>> {
    std::vector<UploadInfo> all;
    TRY(auto rows, db.prepare("SELECT id, key, headers, created_ms FROM upload "
                              "WHERE bucket = ? ORDER BY key, id"));
    TRY_VOID(rows.bind(bucket));
    while (true) {
      TRY(const bool row, rows.step());
      if (!row) return all;
      all.push_back(read_upload(rows));
    }
  });
}

Result<void> DirectoryObjectStore::put_part(const std::string& upload_id, const PartInfo& part) {
  std::vector<Blob> old;
  TRY_VOID(database_.with([&](Database& db) {
    return db.transaction([&]() -> Result<void> {
      TRY(auto upload, db.prepare("SELECT 1 FROM upload WHERE id = ?"));
      TRY_VOID(upload.bind(upload_id));
      TRY(const bool known, upload.step());
      if (!known) return failure(Code::kNotFound, "no upload " + upload_id);
      TRY(auto rows, db.prepare("SELECT blob FROM part WHERE upload = ? AND number = ?"));
      TRY_VOID(rows.bind(upload_id, part.number));
      TRY(const bool again, rows.step());
      if (again) old = decode_blobs(rows.text(0));
      return db.run("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?)", upload_id, part.number,
                    part.etag, encode_blobs({part.blob}), now_ms());
    });
  }));
  drop(old);
  return {};
}

Result<std::vector<PartInfo>> DirectoryObjectStore::parts(const std::string& upload_id) {
  return database_.with([&](Database& db) -> Result<std::vector<PartInfo>> {
    std::vector<PartInfo> all;
    TRY(auto rows, db.prepare("SELECT number, etag, blob, modified_ms FROM part "
                              "WHERE upload = ? ORDER BY number"));
    TRY_VOID(rows.bind(upload_id));
    while (true) {
      TRY(const bool row, rows.step());
      if (!row) return all;
      const auto blobs = decode_blobs(rows.text(2));
      if (blobs.empty()) return failure(Code::kCorruption, "part without content");
      all.push_back({.number = static_cast<int>(rows.integer(0)),
                     .etag = rows.text(1),
                     .blob = blobs.front(),
                     .modified_ms = rows.integer(3)});
    }
  });
}

Result<void> DirectoryObjectStore::complete_upload(const std::string& bucket,
                                                   const std::string& upload_id,
                                                   const ObjectInfo& info,
                                                   const WriteCondition& when) {
  TRY(const auto all, parts(upload_id));
  std::vector<Blob> unused;
  TRY_VOID(database_.with([&](Database& db) {
    return db.transaction([&]() -> Result<void> {
      TRY_VOID(db.run("DELETE FROM upload WHERE id = ?", upload_id));
      if (db.changes() == 0) return failure(Code::kNotFound, "no upload " + upload_id);
      TRY_VOID(db.run("DELETE FROM part WHERE upload = ?", upload_id));
      TRY(unused, replace_object(db, bucket, info, when));
      return {};
    });
  }));
  std::unordered_set<std::string> used;
  for (const Blob& blob : info.blobs) used.insert(blob.id);
  for (const PartInfo& part : all) {
    if (!used.contains(part.blob.id)) unused.push_back(part.blob);
  }
  drop(unused);
  return {};
}

Result<void> DirectoryObjectStore::abort_upload(const std::string& upload_id) {
  TRY(const auto all, parts(upload_id));
  TRY_VOID(database_.with([&](Database& db) {
    return db.transaction([&]() -> Result<void> {
      TRY_VOID(db.run("DELETE FROM upload WHERE id = ?", upload_id));
      return db.run("DELETE FROM part WHERE upload = ?", upload_id);
    });
  }));
  for (const PartInfo& part : all) drop({part.blob});
  return {};
}

}  // namespace banyan::store
