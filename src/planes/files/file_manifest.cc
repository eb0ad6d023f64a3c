#include "planes/files/file_manifest.h"

namespace banyan::files {
namespace {

// synchronous=NORMAL: the newest records may be lost with the power, the file never breaks.
constexpr auto kSchema = R"(
PRAGMA synchronous=NORMAL;
CREATE TABLE IF NOT EXISTS file(path TEXT PRIMARY KEY, inode INTEGER, size INTEGER,
  mtime_ns INTEGER,
  ctime_ns INTEGER, etag TEXT, part_bytes INTEGER, sequence INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_sequence ON file(sequence);
CREATE TABLE IF NOT EXISTS upload(path TEXT PRIMARY KEY, upload_id TEXT, part_bytes INTEGER,
  inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS value(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
)";

FileIdentity read_identity(const store::Statement& row, int column) {
  return {.inode = static_cast<std::uint64_t>(row.integer(column)),
          .size = row.integer(column + 1),
          .mtime_ns = row.integer(column + 2),
          .ctime_ns = row.integer(column + 3)};
}

FileRecord read_record(const store::Statement& row, int column) {
  return {.identity = read_identity(row, column),
          .etag = row.text(column + 4),
          .part_bytes = row.integer(column + 5)};
}

constexpr std::string_view kSelect =
    "SELECT inode, size, mtime_ns, ctime_ns, etag, part_bytes FROM file WHERE path = ?";

Result<std::optional<FileRecord>> find_in(store::Database& db, const std::string& path) {
  TRY(auto rows, db.prepare(kSelect));
  TRY_VOID(rows.bind(path));
  TRY(const bool found, rows.step());
  if (!found) return std::nullopt;
  return read_record(rows, 0);
}

Result<std::vector<std::string>> paths_of(store::Statement& rows) {
  std::vector<std::string> paths;
  while (true) {
    TRY(const bool row, rows.step());
    if (!row) return paths;
    paths.push_back(rows.text(0));
  }
}

}  // namespace

Result<std::unique_ptr<FileManifest>> FileManifest::open(const std::filesystem::path& file) {
  TRY(auto database, store::Database::open(file.string(), kSchema));
  State state{.database = std::move(database), .totals = {}};
  {
    TRY(auto rows,
        state.database.prepare(
            "SELECT count(*), ifnull(sum(size), 0), ifnull(max(sequence), 0) FROM file"));
    TRY_VOID(rows.step());
    state.totals = {.files = rows.integer(0), .bytes = rows.integer(1)};
    state.sequence = rows.integer(2);
  }
  return std::make_unique<FileManifest>(Private{}, std::move(state));
}

Result<std::optional<FileRecord>> FileManifest::find(const std::string& path) {
  return state_.with([&](State& state) { return find_in(state.database, path); });
}

Result<void> FileManifest::put(const std::string& path, const FileRecord& record) {
  return state_.with([&](State& state) -> Result<void> {
    TRY(const auto before, find_in(state.database, path));
    const FileIdentity& id = record.identity;
    TRY_VOID(state.database.run("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)", path,
                                id.inode, id.size, id.mtime_ns, id.ctime_ns, record.etag,
                                record.part_bytes, ++state.sequence));
    state.totals.files += before ? 0 : 1;
    state.totals.bytes += id.size - (before ? before->identity.size : 0);
    return {};
  });
}

Result<void> FileManifest::remove(const std::string& path) {
  return state_.with([&](State& state) -> Result<void> {
    TRY(const auto before, find_in(state.database, path));
    if (!before) return {};
    TRY_VOID(state.database.run("DELETE FROM file WHERE path = ?", path));
    state.totals.files--;
    state.totals.bytes -= before->identity.size;
    return {};
  });
}

Result<FileManifest::Records> FileManifest::all() {
  return state_.with([&](State& state) -> Result<Records> {
    Records records;
    TRY(auto rows, state.database.prepare(
                       "SELECT path, inode, size, mtime_ns, ctime_ns, etag, part_bytes FROM file"));
    while (true) {
      TRY(const bool row, rows.step());
      if (!row) return records;
      records.emplace(rows.text(0), read_record(rows, 1));
    }
  });
}

Result<std::vector<std::string>> FileManifest::paths_under(const std::string& directory) {
  return state_.with([&](State& state) -> Result<std::vector<std::string>> {
    // '0' follows '/' in byte order, so this is every path below the directory.
    TRY(auto rows, state.database.prepare("SELECT path FROM file WHERE path >= ? AND path < ?"));
    TRY_VOID(rows.bind(directory + "/", directory + "0"));
    return paths_of(rows);
  });
}

Result<std::vector<std::string>> FileManifest::newest(int count) {
  return state_.with([&](State& state) -> Result<std::vector<std::string>> {
    TRY(auto rows, state.database.prepare("SELECT path FROM file ORDER BY sequence DESC LIMIT ?"));
    TRY_VOID(rows.bind(count));
    return paths_of(rows);
  });
}

ManifestTotals FileManifest::totals() {
  return state_.with([](State& state) { return state.totals; });
}

Result<void> FileManifest::clear() {
  return state_.with([](State& state) -> Result<void> {
    state.totals = {};
    return state.database.script("DELETE FROM file; DELETE FROM upload; DELETE FROM value;");
  });
}

Result<std::optional<UploadRecord>> FileManifest::find_upload(const std::string& path) {
  return state_.with([&](State& state) -> Result<std::optional<UploadRecord>> {
    TRY(auto rows, state.database.prepare("SELECT upload_id, part_bytes, inode, size, mtime_ns, "
                                          "ctime_ns FROM upload WHERE path = ?"));
    TRY_VOID(rows.bind(path));
    TRY(const bool found, rows.step());
    if (!found) return std::nullopt;
    return UploadRecord{.upload_id = rows.text(0),
                        .part_bytes = rows.integer(1),
                        .identity = read_identity(rows, 2)};
  });
}

Result<std::vector<std::pair<std::string, UploadRecord>>> FileManifest::uploads() {
  return state_.with(
      [&](State& state) -> Result<std::vector<std::pair<std::string, UploadRecord>>> {
        TRY(auto rows, state.database.prepare("SELECT path, upload_id, part_bytes, inode, size, "
                                              "mtime_ns, ctime_ns FROM upload"));
        std::vector<std::pair<std::string, UploadRecord>> uploads;
        while (true) {
          TRY(const bool found, rows.step());
          if (!found) return uploads;
          uploads.emplace_back(rows.text(0), UploadRecord{.upload_id = rows.text(1),
                                                          .part_bytes = rows.integer(2),
                                                          .identity = read_identity(rows, 3)});
        }
      });
}

Result<void> FileManifest::put_upload(const std::string& path, const UploadRecord& record) {
  return state_.with([&](State& state) {
    const FileIdentity& id = record.identity;
    return state.database.run("INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?, ?)", path,
                              record.upload_id, record.part_bytes, id.inode, id.size, id.mtime_ns,
                              id.ctime_ns);
  });
}

Result<void> FileManifest::remove_upload(const std::string& path) {
  return state_.with(
      [&](State& state) { return state.database.run("DELETE FROM upload WHERE path = ?", path); });
}

Result<std::string> FileManifest::value(const std::string& name) {
  return state_.with([&](State& state) -> Result<std::string> {
    TRY(auto rows, state.database.prepare("SELECT value FROM value WHERE name = ?"));
    TRY_VOID(rows.bind(name));
    TRY(const bool found, rows.step());
    return found ? rows.text(0) : std::string();
  });
}

Result<void> FileManifest::set_value(const std::string& name, const std::string& value) {
  return state_.with([&](State& state) {
    return state.database.run("INSERT OR REPLACE INTO value VALUES (?, ?)", name, value);
  });
}

}  // namespace banyan::files
