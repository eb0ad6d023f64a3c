#include "store/sqlite.h"

#include <sqlite3.h>

namespace banyan::store {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

Code code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kTimeout;
    case SQLITE_CONSTRAINT:
      return Code::kConflict;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kCorruption;
    case SQLITE_CANTOPEN:
      return Code::kNotFound;
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return Code::kPermission;
    default:
      return Code::kInternal;
  }
}

std::unexpected<Error> sqlite_failure(sqlite3* handle) {
  return failure(code_of(sqlite3_extended_errcode(handle)),
                 std::string("sqlite: ") + sqlite3_errmsg(handle));
}

}  // namespace

void CloseDatabase::operator()(sqlite3* handle) const {
  sqlite3_close_v2(handle);
}
void CloseStatement::operator()(sqlite3_stmt* handle) const {
  sqlite3_finalize(handle);
}

bool Statement::bind_null(int index) {
  return sqlite3_bind_null(handle_.get(), index) == SQLITE_OK;
}
bool Statement::bind_integer(int index, std::int64_t value) {
  return sqlite3_bind_int64(handle_.get(), index, value) == SQLITE_OK;
}
bool Statement::bind_real(int index, double value) {
  return sqlite3_bind_double(handle_.get(), index, value) == SQLITE_OK;
}
bool Statement::bind_text(int index, std::string_view value) {
  const char* data = value.empty() ? "" : value.data();
  return sqlite3_bind_text64(handle_.get(), index, data, value.size(), SQLITE_TRANSIENT,
                             SQLITE_UTF8) == SQLITE_OK;
}

void Statement::rewind() {
  sqlite3_reset(handle_.get());
  sqlite3_clear_bindings(handle_.get());
}

Result<bool> Statement::step() {
  const int result = sqlite3_step(handle_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) {
    sqlite3_reset(handle_.get());
    return false;
  }
  const auto failed = sqlite_failure(sqlite3_db_handle(handle_.get()));
  sqlite3_reset(handle_.get());
  return failed;
}

Result<void> Statement::finish() {
  while (true) {
    TRY(const bool row, step());
    if (!row) return {};
  }
}

std::unexpected<Error> Statement::bind_failure() {
  return sqlite_failure(sqlite3_db_handle(handle_.get()));
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}
double Statement::real(int column) const {
  return sqlite3_column_double(handle_.get(), column);
}
std::string Statement::text(int column) const {
  const void* data = sqlite3_column_blob(handle_.get(), column);
  const int size = sqlite3_column_bytes(handle_.get(), column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data), static_cast<std::size_t>(size)};
}
bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
}

Result<Database> Database::open(const std::string& path, std::string_view schema) {
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  const int result = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Database database(handle);
  if (result != SQLITE_OK) {
    auto failed = sqlite_failure(handle);
    return std::unexpected(std::move(failed.error()).with_context("opening " + path));
  }
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  TRY_VOID(with_context(
      database.script("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"),
      "opening " + path));
  TRY_VOID(with_context(database.script(schema), "preparing the schema of " + path));
  return database;
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v2(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                        &statement, nullptr);
  if (result != SQLITE_OK) return sqlite_failure(handle_.get());
  return Statement(statement);
}

Result<void> Database::script(std::string_view sql) {
  const std::string text(sql);
  if (sqlite3_exec(handle_.get(), text.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return sqlite_failure(handle_.get());
  }
  return {};
}

void Database::roll_back() {
  if (sqlite3_get_autocommit(handle_.get()) == 0) {
    sqlite3_exec(handle_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

std::int64_t Database::changes() const {
  return sqlite3_changes64(handle_.get());
}
std::int64_t Database::last_insert_id() const {
  return sqlite3_last_insert_rowid(handle_.get());
}

}  // namespace banyan::store
