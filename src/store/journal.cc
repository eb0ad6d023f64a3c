#include "store/journal.h"

#include <array>

namespace banyan::store {
namespace {

using nlohmann::json;

constexpr std::string_view kJournalSchema = R"sql(
CREATE TABLE IF NOT EXISTS journal(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  migration TEXT NOT NULL,
  act_id TEXT NOT NULL,
  step TEXT NOT NULL,
  kind INTEGER NOT NULL,
  detail TEXT NOT NULL,
  wall_ns INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS journal_migration ON journal(migration, sequence);
CREATE INDEX IF NOT EXISTS journal_act ON journal(act_id, sequence);
)sql";

constexpr std::string_view kStateSchema = R"sql(
CREATE TABLE IF NOT EXISTS state(
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  version INTEGER NOT NULL);
)sql";

constexpr std::string_view kSelectEntry =
    "SELECT sequence, migration, act_id, step, kind, detail, wall_ns FROM journal ";

// Text that is not valid UTF-8 is replaced rather than refused: a journal must not fail on a name.
std::string to_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<json> to_json(const std::string& text) {
  auto value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return failure(Code::kCorruption, "the state file holds invalid JSON");
  return value;
}

Result<JournalEntry> entry_of(const Statement& row) {
  JournalEntry entry;
  entry.sequence = row.integer(0);
  entry.migration = row.text(1);
  entry.act_id = row.text(2);
  entry.step = row.text(3);
  const auto kind = row.integer(4);
  if (kind < 0 || kind > static_cast<std::int64_t>(EntryKind::kReceipt)) {
    return failure(Code::kCorruption, "the journal holds an entry of an unknown kind");
  }
  entry.kind = static_cast<EntryKind>(kind);
  TRY(entry.detail, to_json(row.text(5)));
  entry.time = Wall(Duration(row.integer(6)));
  return entry;
}

Result<std::vector<JournalEntry>> entries_of(Statement rows) {
  std::vector<JournalEntry> entries;
  while (true) {
    TRY(const bool more, rows.step());
    if (!more) return entries;
    TRY(auto entry, entry_of(rows));
    entries.push_back(std::move(entry));
  }
}

}  // namespace

std::string_view kind_name(EntryKind kind) {
  static constexpr std::array<std::string_view, 3> kNames = {"intent", "outcome", "receipt"};
  return kNames.at(static_cast<std::size_t>(kind));
}

Result<std::unique_ptr<Journal>> Journal::open(const std::string& path, const Clock& clock) {
  TRY(auto database, Database::open(path, kJournalSchema));
  return std::make_unique<Journal>(std::move(database), clock);
}

Result<std::int64_t> Journal::append(const JournalEntry& entry) {
  const std::int64_t wall_ns = clock_.wall().time_since_epoch().count();
  const std::string detail = to_text(entry.detail);
  return database_.with([&](Database& database) -> Result<std::int64_t> {
    TRY_VOID(with_context(
        database.run("INSERT INTO journal(migration, act_id, step, kind, detail, wall_ns) "
                     "VALUES (?, ?, ?, ?, ?, ?)",
                     entry.migration, entry.act_id, entry.step,
                     static_cast<std::int64_t>(entry.kind), detail, wall_ns),
        "appending to the journal"));
    return database.last_insert_id();
  });
}

Result<std::vector<JournalEntry>> Journal::read(std::string_view migration, std::int64_t after) {
  return database_.with([&](Database& database) -> Result<std::vector<JournalEntry>> {
    TRY(auto rows, database.prepare(std::string(kSelectEntry) +
                                    "WHERE (?1 = '' OR migration = ?1) AND sequence > ?2 "
                                    "ORDER BY sequence"));
    TRY_VOID(rows.bind(migration, after));
    return entries_of(std::move(rows));
  });
}

Result<std::vector<JournalEntry>> Journal::read_act(std::string_view act_id) {
  return database_.with([&](Database& database) -> Result<std::vector<JournalEntry>> {
    TRY(auto rows,
        database.prepare(std::string(kSelectEntry) + "WHERE act_id = ? ORDER BY sequence"));
    TRY_VOID(rows.bind(act_id));
    return entries_of(std::move(rows));
  });
}

Result<std::optional<JournalEntry>> Journal::open_act(std::string_view migration) {
  return database_.with([&](Database& database) -> Result<std::optional<JournalEntry>> {
    TRY(auto rows, database.prepare(
                       std::string(kSelectEntry) +
                       "AS opened WHERE migration = ?1 AND step = ?2 AND kind = ?3 AND NOT EXISTS "
                       "(SELECT 1 FROM journal AS closed WHERE closed.act_id = opened.act_id AND "
                       "closed.migration = ?1 AND closed.step = ?2 AND closed.kind = ?4) "
                       "ORDER BY sequence DESC LIMIT 1"));
    TRY_VOID(rows.bind(migration, kActStep, static_cast<int>(EntryKind::kIntent),
                       static_cast<int>(EntryKind::kOutcome)));
    TRY(auto entries, entries_of(std::move(rows)));
    if (entries.empty()) return std::optional<JournalEntry>();
    return std::optional<JournalEntry>(std::move(entries.front()));
  });
}

Result<std::unique_ptr<StateStore>> StateStore::open(const std::string& path) {
  TRY(auto database, Database::open(path, kStateSchema));
  return std::make_unique<StateStore>(std::move(database));
}

Result<std::optional<StoredValue>> StateStore::get(std::string_view key) {
  return database_.with([&](Database& database) -> Result<std::optional<StoredValue>> {
    TRY(auto rows, database.prepare("SELECT value, version FROM state WHERE key = ?"));
    TRY_VOID(rows.bind(key));
    TRY(const bool found, rows.step());
    if (!found) return std::optional<StoredValue>();
    StoredValue stored;
    TRY(stored.value, to_json(rows.text(0)));
    stored.version = rows.integer(1);
    return std::optional<StoredValue>(std::move(stored));
  });
}

Result<void> StateStore::put(std::string_view key, const json& value) {
  return database_.with([&](Database& database) {
    return database.run(
        "INSERT INTO state(key, value, version) VALUES (?, ?, 1) "
        "ON CONFLICT(key) DO UPDATE SET value = excluded.value, version = version + 1",
        key, to_text(value));
  });
}

Result<std::int64_t> StateStore::compare_and_swap(std::string_view key, std::int64_t expected,
                                                  const json& value) {
  return database_.with([&](Database& database) -> Result<std::int64_t> {
    if (expected == 0) {
      TRY_VOID(database.run(
          "INSERT INTO state(key, value, version) VALUES (?, ?, 1) ON CONFLICT(key) DO NOTHING",
          key, to_text(value)));
    } else {
      TRY_VOID(database.run(
          "UPDATE state SET value = ?, version = version + 1 WHERE key = ? AND version = ?",
          to_text(value), key, expected));
    }
    if (database.changes() != 1) {
      return failure(Code::kConflict, std::string(key) + " was changed by somebody else");
    }
    return expected + 1;
  });
}

Result<void> StateStore::remove(std::string_view key) {
  return database_.with(
      [&](Database& database) { return database.run("DELETE FROM state WHERE key = ?", key); });
}

Result<std::vector<std::string>> StateStore::keys(std::string_view prefix) {
  return database_.with([&](Database& database) -> Result<std::vector<std::string>> {
    TRY(auto rows, database.prepare("SELECT key FROM state WHERE substr(key, 1, length(?1)) = ?1 "
                                    "ORDER BY key"));
    TRY_VOID(rows.bind(prefix));
    std::vector<std::string> keys;
    while (true) {
      TRY(const bool more, rows.step());
      if (!more) return keys;
      keys.push_back(rows.text(0));
    }
  });
}

}  // namespace banyan::store
