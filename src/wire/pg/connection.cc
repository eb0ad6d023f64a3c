#include "wire/pg/connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace banyan::pg {
namespace {

// Options of the start packet win over those of the role and of the database.
constexpr std::string_view kPinned =
    "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex "
    "-c row_security=off -c statement_timeout=0 -c lock_timeout=0 "
    "-c idle_in_transaction_session_timeout=0 "
    "-c default_transaction_isolation=read\\ committed -c search_path=";

// Those that not every server knows cannot stand in the start packet.
std::string newer_pins(int server_version) {
  std::string pins;
  if (server_version >= 140000) pins += "set idle_session_timeout = 0;";
  if (server_version >= 170000) pins += "set transaction_timeout = 0;";
  return pins;
}

std::string trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return std::string(text);
}

// What libpq quotes may be a piece of a password, unless it is the name of a setting.
std::string without_values(const std::string& message) {
  const auto quote = message.find('"');
  if (quote == std::string::npos || message.starts_with("invalid URI query parameter") ||
      message.starts_with("invalid connection option"))
    return message;
  return trimmed(message.substr(0, quote));
}

// What helps, by words of the message: libpq gives no code for a session that did not begin.
struct Refusal {
  std::string_view words;
  std::string_view way;
};
constexpr Refusal kRefusals[] = {
    {"definition of service",
     "Write the service into ~/.pg_service.conf of the user who runs banyan, or name another file "
     "in PGSERVICEFILE."},
    {"password",
     "The password of the address is wrong or missing: correct it (special characters "
     "%-encoded), or put it into ~/.pgpass of the user who runs banyan."},
    {"translate host name", "Correct the host: no machine has this name here."},
    {"pg_hba.conf",
     "Add a line for this user, database and address to pg_hba.conf of the server, "
     "then there: select pg_reload_conf();"},
    {"SSL", "Make both ends agree: sslmode in the address, ssl and certificates of the server."},
    {"certificate", "Name the right certificates: sslrootcert, sslcert and sslkey in the address."},
    {"does not exist", "Correct the name in the address, or create what is missing."},
    {"too many", "End sessions, or raise max_connections."},
    {"remaining connection slots", "End sessions, or raise max_connections."},
    {"starting up", "Wait: the server is starting."},
    {"refused", "Start the server, or correct host and port; listen_addresses must include it."},
    {"No such file", "Start the server, or correct the socket's folder (unix_socket_directories)."},
    {"time", "Look whether a firewall stands between, and whether host and port are right."},
};

std::string way_out(std::string_view message) {
  for (const auto& [words, way] : kRefusals) {
    if (message.contains(words)) return fmt::format("1. {}\n2. ", way);
  }
  return "";
}

struct Settings {
  std::vector<std::string> keywords;
  std::vector<std::string> values;
  void set(std::string_view keyword, std::string_view value) {
    for (std::size_t i = 0; i < keywords.size(); ++i) {
      if (keywords[i] == keyword) {
        values[i] = value;
        return;
      }
    }
    keywords.emplace_back(keyword);
    values.emplace_back(value);
  }
  void set_default(std::string_view keyword, std::string_view value) {
    if (get(keyword).empty()) set(keyword, value);
  }
  std::string get(std::string_view keyword) const {
    for (std::size_t i = 0; i < keywords.size(); ++i) {
      if (keywords[i] == keyword) return values[i];
    }
    return {};
  }
};

Result<Settings> parse_settings(std::string_view conninfo) {
  constexpr std::string_view kForms =
      "1. As a URL: postgresql://user@host:5432/database (in a password, @ : / % # ? are written "
      "%40 %3A %2F %25 %23 %3F)\n2. As words: host=.. port=.. user=.. dbname=..";
  char* message = nullptr;
  PQconninfoOption* parsed = PQconninfoParse(std::string(conninfo).c_str(), &message);
  const std::unique_ptr<char, decltype(&PQfreemem)> message_owner(message, &PQfreemem);
  if (parsed == nullptr) {
    const std::string what = message != nullptr ? trimmed(message) : "out of memory";
    return std::unexpected(
        Error(Code::kInvalidArgument, "not a PostgreSQL address: " + without_values(what))
            .with_remedy(std::string(kForms)));
  }
  Settings settings;
  for (const PQconninfoOption* option = parsed; option->keyword != nullptr; ++option) {
    if (option->val != nullptr) settings.set(option->keyword, option->val);
  }
  PQconninfoFree(parsed);
  return settings;
}

void pin(Settings& settings, const ConnectOptions& options) {
  const auto seconds = std::max<long>(2, to_ms(options.connect_timeout) / 1000);
  settings.set("options", fmt::format("{} {}", settings.get("options"), kPinned));
  settings.set("application_name", options.application_name);
  settings.set("client_encoding", "UTF8");
  settings.set_default("connect_timeout", std::to_string(seconds));
  settings.set_default("keepalives_idle", "10");
  settings.set_default("keepalives_interval", "5");
  settings.set_default("keepalives_count", "3");
  settings.set_default("tcp_user_timeout", "30000");
  if (options.replication == Replication::kDatabase) settings.set("replication", "database");
}

std::string field(const pg_result* result, int code) {
  const char* value = PQresultErrorField(result, code);
  return value == nullptr ? std::string() : std::string(value);
}

std::vector<const char*> pointers(const std::vector<std::string>& strings) {
  std::vector<const char*> result;
  for (const auto& string : strings) result.push_back(string.c_str());
  result.push_back(nullptr);
  return result;
}

Error not_begun(const PGconn* conn) {
  const auto message = trimmed(PQerrorMessage(conn));
  // libpq found out nothing, not even whom to ask.
  if (PQuser(conn) == nullptr || PQdb(conn) == nullptr) {
    return Error(Code::kInvalidArgument, message)
        .with_remedy(way_out(message) + "Name host, port, user and dbname in the address.");
  }
  return Error(Code::kUnavailable, message, Retry::kSafe)
      .with_remedy(fmt::format("{}psql 'host={} port={} user={} dbname={}'", way_out(message),
                               PQhost(conn), PQport(conn), PQuser(conn), PQdb(conn)));
}

bool is_failure(ExecStatusType status) {
  return status == PGRES_BAD_RESPONSE || status == PGRES_FATAL_ERROR ||
         status == PGRES_PIPELINE_ABORTED;
}

}  // namespace

Code code_from_sqlstate(std::string_view sqlstate) {
  const auto group = sqlstate.substr(0, 2);
  if (sqlstate == "57014" || sqlstate == "55P03") return Code::kTimeout;
  if (sqlstate == "42501" || group == "28") return Code::kPermission;
  if (sqlstate.empty() || group == "08" || group == "57" || group == "53" || sqlstate == "55006")
    return Code::kUnavailable;
  if (group == "40") return Code::kUnavailable;
  if (group == "23" || sqlstate == "25006") return Code::kConflict;
  if (group == "3D" || group == "3F" || sqlstate == "42P01" || sqlstate == "42704") {
    return Code::kNotFound;
  }
  if (group == "0A") return Code::kUnsupported;
  return Code::kInternal;
}

void Rows::Deleter::operator()(pg_result* result) const {
  PQclear(result);
}

std::size_t Rows::size() const {
  return result_ ? static_cast<std::size_t>(PQntuples(result_.get())) : 0;
}

std::size_t Rows::columns() const {
  return result_ ? static_cast<std::size_t>(PQnfields(result_.get())) : 0;
}

std::string_view Rows::column_name(std::size_t column) const {
  return PQfname(result_.get(), static_cast<int>(column));
}

std::string_view Rows::text(std::size_t row, std::size_t column) const {
  const int r = static_cast<int>(row);
  const int c = static_cast<int>(column);
  return {PQgetvalue(result_.get(), r, c),
          static_cast<std::size_t>(PQgetlength(result_.get(), r, c))};
}

std::int64_t Rows::integer(std::size_t row, std::size_t column) const {
  const auto value = text(row, column);
  std::int64_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  return error == std::errc() && end == value.data() + value.size() ? result : 0;
}

bool Rows::is_null(std::size_t row, std::size_t column) const {
  return PQgetisnull(result_.get(), static_cast<int>(row), static_cast<int>(column)) != 0;
}

Param Rows::param(std::size_t row, std::size_t column) const {
  if (is_null(row, column)) return std::nullopt;
  return str(row, column);
}

std::int64_t Rows::affected() const {
  if (!result_) return 0;
  const char* text = PQcmdTuples(result_.get());
  std::int64_t count = 0;
  std::from_chars(text, text + std::strlen(text), count);
  return count;
}

void Canceller::cancel() const {
  if (!handle_) return;
  std::array<char, 256> message{};
  PQcancel(handle_.get(), message.data(), static_cast<int>(message.size()));
}

void Connection::Deleter::operator()(pg_conn* conn) const {
  PQfinish(conn);
}

Result<Connection> Connection::open(std::string_view conninfo_or_url,
                                    const ConnectOptions& options) {
  TRY(auto settings, parse_settings(conninfo_or_url));
  pin(settings, options);
  const auto keywords = pointers(settings.keywords);
  const auto values = pointers(settings.values);
  Connection connection(PQconnectdbParams(keywords.data(), values.data(), 0));
  PGconn* conn = connection.conn_.get();
  if (conn == nullptr) return failure(Code::kInternal, "out of memory");
  if (PQstatus(conn) != CONNECTION_OK) return std::unexpected(not_begun(conn));
  PQsetNoticeProcessor(conn, [](void*, const char*) {}, nullptr);
  const auto pins = newer_pins(PQserverVersion(conn));
  if (!pins.empty() && options.replication == Replication::kNo) TRY_VOID(connection.exec(pins));
  return connection;
}

std::unexpected<Error> Connection::server_error(const pg_result* result) {
  sqlstate_ = field(result, PG_DIAG_SQLSTATE);
  if (sqlstate_.empty()) return lost();
  auto message = fmt::format("{} [{}]", field(result, PG_DIAG_MESSAGE_PRIMARY), sqlstate_);
  if (const auto context = field(result, PG_DIAG_TABLE_NAME); !context.empty()) {
    message += fmt::format(" (table {})", context);
  }
  const Code code = code_from_sqlstate(sqlstate_);
  const Retry retry = sqlstate_.starts_with("40") ? Retry::kSafe : Retry::kNever;
  Error error(code, std::move(message), retry);
  if (const auto hint = field(result, PG_DIAG_MESSAGE_HINT); !hint.empty()) {
    error = std::move(error).with_remedy(hint);
  }
  return std::unexpected(std::move(error));
}

std::unexpected<Error> Connection::lost() {
  sqlstate_.clear();
  auto message = trimmed(PQerrorMessage(conn_.get()));
  return failure(Code::kUnavailable,
                 message.empty() ? "the server closed the connection" : std::move(message));
}

Result<Rows> Connection::take(pg_result* raw) {
  Rows rows(raw);
  if (raw == nullptr) return lost();
  if (is_failure(PQresultStatus(raw))) return server_error(raw);
  return rows;
}

Result<Rows> Connection::query(const std::string& sql) {
  return take(PQexec(conn_.get(), sql.c_str()));
}

Result<Rows> Connection::query(const std::string& sql, Params params) {
  std::vector<const char*> values;
  for (const auto& param : params) values.push_back(param ? param->c_str() : nullptr);
  return take(PQexecParams(conn_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr,
                           values.data(), nullptr, nullptr, 0));
}

Result<void> Connection::exec(const std::string& sql) {
  TRY_VOID(query(sql));
  return {};
}

Result<Rows> Connection::query_one(const std::string& sql, std::initializer_list<Param> params) {
  TRY(auto rows, query(sql, params));
  if (rows.affected() == 1) return rows;
  return failure(Code::kConflict, fmt::format("{} rows instead of one", rows.affected()));
}

Result<Rows> Connection::drain() {
  Result<Rows> last{Rows()};
  while (pg_result* raw = PQgetResult(conn_.get())) {
    const auto status = PQresultStatus(raw);
    if (last)
      last = take(raw);
    else
      PQclear(raw);
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) break;
  }
  return last;
}

Result<void> Connection::copy_out_begin(const std::string& sql) {
  copy_rows_ = 0;
  TRY(auto rows, query(sql));
  if (PQresultStatus(rows.result_.get()) == PGRES_COPY_OUT) return {};
  return failure(Code::kInternal, "the statement is no COPY ... TO STDOUT");
}

Result<std::optional<std::string_view>> Connection::copy_out_next() {
  char* data = nullptr;
  const int length = PQgetCopyData(conn_.get(), &data, 0);
  copy_buffer_ = {data, &PQfreemem};
  if (length > 0) return std::string_view(data, static_cast<std::size_t>(length));
  if (length == -2) return lost();
  TRY(auto rows, drain());
  copy_rows_ = rows.affected();
  return std::optional<std::string_view>();
}

Result<void> Connection::copy_in_begin(const std::string& sql) {
  TRY(auto rows, query(sql));
  if (PQresultStatus(rows.result_.get()) == PGRES_COPY_IN) return {};
  return failure(Code::kInternal, "the statement is no COPY ... FROM STDIN");
}

Result<void> Connection::copy_in_write(std::string_view bytes) {
  if (PQputCopyData(conn_.get(), bytes.data(), static_cast<int>(bytes.size())) == 1) return {};
  if (auto rows = drain(); !rows) return std::unexpected(rows.error());
  return lost();
}

Result<std::int64_t> Connection::copy_in_end() {
  if (PQputCopyEnd(conn_.get(), nullptr) != 1) return lost();
  TRY(auto rows, drain());
  return rows.affected();
}

void Connection::copy_in_cancel(const std::string& reason) {
  if (PQputCopyEnd(conn_.get(), reason.c_str()) == 1) (void)drain();  // it fails on purpose
}

Result<std::string> Connection::password_verifier(const std::string& role,
                                                  const std::string& password) {
  const std::unique_ptr<char, decltype(&PQfreemem)> verifier(
      PQencryptPasswordConn(conn_.get(), password.c_str(), role.c_str(), nullptr), &PQfreemem);
  if (verifier) return std::string(verifier.get());
  return failure(Code::kUnavailable, trimmed(PQerrorMessage(conn_.get())));
}

int Connection::server_version() const {
  return PQserverVersion(conn_.get());
}
int Connection::backend_pid() const {
  return PQbackendPID(conn_.get());
}
bool Connection::is_alive() const {
  return conn_ && PQstatus(conn_.get()) == CONNECTION_OK;
}

Canceller Connection::canceller() const {
  Canceller result;
  result.handle_ = std::shared_ptr<pg_cancel>(PQgetCancel(conn_.get()), &PQfreeCancel);
  return result;
}

std::string Connection::parameter(const std::string& name) const {
  const char* value = PQparameterStatus(conn_.get(), name.c_str());
  return value == nullptr ? std::string() : std::string(value);
}

std::string quote_ident(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string quote_literal(std::string_view text) {
  std::string quoted = text.find('\\') == std::string_view::npos ? "'" : " E'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += c;
    quoted += c;
  }
  return quoted + '\'';
}

std::string quote_qualified(std::string_view schema, std::string_view name) {
  return quote_ident(schema) + '.' + quote_ident(name);
}

Result<ToolAddress> tool_address(std::string_view conninfo_or_url) {
  TRY(const auto settings, parse_settings(conninfo_or_url));
  ToolAddress address;
  for (std::size_t i = 0; i < settings.keywords.size(); ++i) {
    if (settings.keywords[i] == "password") {
      address.password = settings.values[i];
      continue;
    }
    std::string quoted;
    for (const char c : settings.values[i]) {
      if (c == '\'' || c == '\\') quoted += '\\';
      quoted += c;
    }
    address.conninfo += fmt::format("{}='{}' ", settings.keywords[i], quoted);
  }
  return address;
}

std::string without_password(std::string_view conninfo_or_url) {
  auto settings = parse_settings(conninfo_or_url);
  if (!settings) return "(unreadable address)";
  std::string result;
  for (std::size_t i = 0; i < settings->keywords.size(); ++i) {
    const auto& keyword = settings->keywords[i];
    if (keyword == "password" || keyword == "sslpassword" || keyword == "passfile") continue;
    result += fmt::format("{}{}={}", result.empty() ? "" : " ", keyword, settings->values[i]);
  }
  return result;
}

}  // namespace banyan::pg
