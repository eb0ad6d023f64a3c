#pragma once
// Database and Statement: SQLite with owners, Results and nothing else.
//
//   TRY(auto db, Database::open(path, "CREATE TABLE IF NOT EXISTS job(id TEXT PRIMARY KEY, n
//   INT)")); TRY_VOID(db.run("INSERT INTO job VALUES (?, ?)", "a", 1)); TRY(auto jobs,
//   db.prepare("SELECT id, n FROM job WHERE n > ?")); TRY_VOID(jobs.bind(0)); while (true) {
//   TRY(const bool row, jobs.step()); if (!row) break; use(jobs.text(0)); }
//
// A file database is in WAL mode with synchronous=FULL: what was committed survives kill -9 and
// power loss. A Database may be shared by threads only under a lock (Guarded<Database>); a
// Statement must not outlive its Database. Both are movable handles, not copyable.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace banyan::store {

struct CloseDatabase {
  void operator()(sqlite3* handle) const;
};
struct CloseStatement {
  void operator()(sqlite3_stmt* handle) const;
};

class Statement {
 public:
  // Rewinds, then binds every parameter in order: integers, doubles, bools, text (bytes are kept as
  // they are, NUL included) and nullptr for NULL. Text is copied.
  template <class... Args>
  Result<void> bind(const Args&... args) {
    rewind();
    int index = 0;
    const bool ok = (bind_one(++index, args) && ...);
    if (!ok) return bind_failure();
    return {};
  }
  // True while there is a row to read; false at the end.
  Result<bool> step();
  // Binds, runs to the end and rewinds: for INSERT, UPDATE, DELETE.
  template <class... Args>
  Result<void> run(const Args&... args) {
    TRY_VOID(bind(args...));
    return finish();
  }

  // Columns of the current row, from 0. SQLite converts; NULL reads as 0 or "".
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}

  template <class T>
  bool bind_one(int index, const T& value) {
    if constexpr (std::is_null_pointer_v<T>) {
      return bind_null(index);
    } else if constexpr (std::is_floating_point_v<T>) {
      return bind_real(index, value);
    } else if constexpr (std::is_integral_v<T>) {
      return bind_integer(index, static_cast<std::int64_t>(value));
    } else {
      return bind_text(index, value);
    }
  }
  bool bind_null(int index);
  bool bind_integer(int index, std::int64_t value);
  bool bind_real(int index, double value);
  bool bind_text(int index, std::string_view value);
  void rewind();
  Result<void> finish();
  std::unexpected<Error> bind_failure();

  std::unique_ptr<sqlite3_stmt, CloseStatement> handle_;
};

class Database {
 public:
  // Opens or creates the file (":memory:" for none) and runs `schema`, which must be idempotent.
  static Result<Database> open(const std::string& path, std::string_view schema = {});

  Result<Statement> prepare(std::string_view sql);
  // One statement that returns no rows.
  template <class... Args>
  Result<void> run(std::string_view sql, const Args&... args) {
    TRY(auto statement, prepare(sql));
    return statement.run(args...);
  }
  // Any number of statements separated by semicolons, without parameters.
  Result<void> script(std::string_view sql);
  // Commits when `body()` (returning Result<void>) succeeds, rolls back when it fails.
  template <class Fn>
  Result<void> transaction(Fn&& body) {
    TRY_VOID(script("BEGIN IMMEDIATE"));
    Result<void> done = std::forward<Fn>(body)();
    if (done) done = script("COMMIT");
    if (!done) roll_back();
    return done;
  }
  // Rows changed by the last INSERT, UPDATE or DELETE.
  std::int64_t changes() const;
  std::int64_t last_insert_id() const;

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  void roll_back();

  std::unique_ptr<sqlite3, CloseDatabase> handle_;
};

}  // namespace banyan::store
