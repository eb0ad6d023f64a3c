#pragma once
// Connection: one session with a PostgreSQL server. Blocking; one thread at a time.
//
// Every session is pinned to the same formats whatever the role, database or server default says:
// datestyle=ISO, intervalstyle=postgres, extra_float_digits=3, bytea_output=hex, UTF8 on the wire,
// row_security=off, every timeout 0, read committed, search_path=''.
// So write schema-qualified names. A failed call keeps its SQLSTATE in last_sqlstate() and in the
// message ("... [42P01]"); after kUnavailable the session is dead: open another one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "wire/pg/lsn.h"

struct pg_conn;
struct pg_result;
struct pg_cancel;

namespace banyan::pg {

enum class Replication : std::uint8_t { kNo, kDatabase };

struct ConnectOptions {
  std::string application_name = "banyan";
  Replication replication = Replication::kNo;
  Duration connect_timeout = 5s;
};

// A bound parameter in text format; nothing is NULL.
using Param = std::optional<std::string>;
using Params = std::span<const Param>;

// The result of one statement. Views live as long as the Rows.
class Rows {
 public:
  Rows() = default;
  std::size_t size() const;
  std::size_t columns() const;
  bool empty() const { return size() == 0; }
  std::string_view column_name(std::size_t column) const [[clang::lifetimebound]];
  // Empty for NULL.
  std::string_view text(std::size_t row, std::size_t column) const [[clang::lifetimebound]];
  std::string str(std::size_t row, std::size_t column) const {
    return std::string(text(row, column));
  }
  // 0 for NULL or what is not a whole number.
  std::int64_t integer(std::size_t row, std::size_t column) const;
  bool boolean(std::size_t row, std::size_t column) const { return text(row, column) == "t"; }
  bool is_null(std::size_t row, std::size_t column) const;
  Param param(std::size_t row, std::size_t column) const;
  // Rows inserted, updated, deleted, copied or selected, as the server counted them.
  std::int64_t affected() const;

 private:
  friend class Connection;
  friend class Pipeline;
  friend class ReplicationConnection;
  struct Deleter {
    void operator()(pg_result* result) const;
  };
  explicit Rows(pg_result* result) : result_(result) {}
  std::unique_ptr<pg_result, Deleter> result_;
};

// Asks the server to cancel what a Connection runs. Usable from any thread, also after its end.
class Canceller {
 public:
  Canceller() = default;
  void cancel() const;

 private:
  friend class Connection;
  std::shared_ptr<pg_cancel> handle_;
};

class Connection {
 public:
  // A libpq connection string or postgresql:// URL.
  static Result<Connection> open(std::string_view conninfo_or_url,
                                 const ConnectOptions& options = {});
  Connection(Connection&&) = default;
  Connection& operator=(Connection&&) = default;

  // One statement, or several separated by semicolons (then the last one's rows; one transaction).
  Result<Rows> query(const std::string& sql);
  Result<Rows> query(const std::string& sql, Params params);
  Result<Rows> query(const std::string& sql, std::initializer_list<Param> params) {
    return query(sql, Params(params.begin(), params.size()));
  }
  Result<void> exec(const std::string& sql);
  // Fails with kConflict unless exactly one row was affected.
  Result<Rows> query_one(const std::string& sql, std::initializer_list<Param> params = {});

  // COPY ... TO STDOUT: begin, then next() until it gives nothing; then copy_rows() is what the
  // server counted. A chunk is one row in text format; the view lives until the next call.
  Result<void> copy_out_begin(const std::string& sql);
  Result<std::optional<std::string_view>> copy_out_next();
  std::int64_t copy_rows() const { return copy_rows_; }
  // COPY ... FROM STDIN: begin, write any number of times, end (gives the server's count).
  Result<void> copy_in_begin(const std::string& sql);
  Result<void> copy_in_write(std::string_view bytes);
  Result<std::int64_t> copy_in_end();
  // Gives up a COPY FROM STDIN; the transaction is then aborted.
  void copy_in_cancel(const std::string& reason);

  // What the server keeps instead of `password`: may be sent, and logged, in its place.
  Result<std::string> password_verifier(const std::string& role, const std::string& password);

  // SQLSTATE of the last failed call; empty when it did not come from the server.
  const std::string& last_sqlstate() const { return sqlstate_; }
  int server_version() const;  // 150006
  int backend_pid() const;
  bool is_alive() const;
  Canceller canceller() const;
  // A run-time parameter the server reports: "server_encoding", "is_superuser".
  std::string parameter(const std::string& name) const;

 private:
  friend class Pipeline;
  friend class ReplicationConnection;
  struct Deleter {
    void operator()(pg_conn* conn) const;
  };
  explicit Connection(pg_conn* conn) : conn_(conn) {}
  Result<Rows> take(pg_result* result);
  std::unexpected<Error> server_error(const pg_result* result);
  std::unexpected<Error> lost();
  // The last result of the running command; reads until the server is ready.
  Result<Rows> drain();

  std::unique_ptr<pg_conn, Deleter> conn_;
  std::unique_ptr<char, void (*)(void*)> copy_buffer_{nullptr, nullptr};
  std::int64_t copy_rows_ = 0;
  std::string sqlstate_;
};

// "name" and 'text' quoted for SQL, whatever they contain.
std::string quote_ident(std::string_view name);
std::string quote_literal(std::string_view text);
// schema.name, both quoted.
std::string quote_qualified(std::string_view schema, std::string_view name);
// What can be done after a server error: from its SQLSTATE.
Code code_from_sqlstate(std::string_view sqlstate);
// For another program: an address without its password, which goes into its environment, because
// arguments are readable by everyone on a machine.
struct ToolAddress {
  std::string conninfo;
  std::string password;
};
Result<ToolAddress> tool_address(std::string_view conninfo_or_url);
// The connection string without its password, for messages.
std::string without_password(std::string_view conninfo_or_url);

}  // namespace banyan::pg
