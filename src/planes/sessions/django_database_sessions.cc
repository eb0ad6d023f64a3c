#include "planes/sessions/django_database_sessions.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "planes/sessions/signing.h"

namespace banyan::sessions {
namespace {

// The expiry is part of the digest: the application may move it without touching the data.
constexpr std::string_view kDigest =
    "pg_catalog.md5(session_data || extract(epoch from expire_date)::text)";
constexpr std::string_view kLeftMs =
    "pg_catalog.floor(extract(epoch from expire_date - pg_catalog.now()) * 1000)::bigint";

std::string json_array(std::span<const std::string> keys) {
  return nlohmann::json(std::vector<std::string>(keys.begin(), keys.end())).dump();
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

}  // namespace

bool is_session_key(std::string_view key) {
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return key.size() >= 8 && key.size() <= 40 && std::ranges::all_of(key, plain);
}

Result<void> DjangoDatabaseSessions::connect() {
  TRY(auto connection, pg::Connection::open(url_, {.application_name = "banyan sessions"}));
  TRY(const auto found,
      connection.query("SELECT n.nspname FROM pg_catalog.pg_class c"
                       " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                       " WHERE c.relname = 'django_session' AND c.relkind IN ('r', 'p')"
                       " ORDER BY n.nspname <> 'public', n.nspname LIMIT 1"));
  if (found.empty())
    return std::unexpected(Error(Code::kNotFound, "the database has no table django_session")
                               .with_remedy("Name the database whose application uses "
                                            "django.contrib.sessions.backends.db or cached_db."));
  table_ = pg::quote_qualified(found.text(0, 0), "django_session");
  connection_ = std::move(connection);
  return {};
}

Result<pg::Rows> DjangoDatabaseSessions::query(std::string_view sql,
                                               std::initializer_list<pg::Param> params) {
  const bool kept = connection_ && connection_->is_alive();
  if (!kept) TRY_VOID(connect());
  std::string text = replaced(std::string(sql), "{table}", table_);
  text = replaced(replaced(std::move(text), "{digest}", kDigest), "{left_ms}", kLeftMs);
  auto rows = connection_->query(text, params);
  // The server was restarted since the last statement; every statement here may run twice.
  if (!rows && kept && !connection_->is_alive()) {
    TRY_VOID(connect());
    rows = connection_->query(text, params);
  }
  if (!rows) connection_.reset();
  return with_context(std::move(rows), "sessions in the database");
}

Result<std::vector<Fingerprint>> DjangoDatabaseSessions::survey() {
  TRY(const auto rows, query("SELECT session_key, {digest}, {left_ms} FROM {table}"
                             " WHERE expire_date > pg_catalog.now()"));
  std::vector<Fingerprint> found;
  found.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (is_session_key(rows.text(i, 0)))
      found.push_back(
          {.key = rows.str(i, 0), .digest = rows.str(i, 1), .left_ms = rows.integer(i, 2)});
  return found;
}

// On a database that a migration moves, only its own writers may write to the closed side, and the
// stream out of it skips a transaction that touched its progress row (control_schema.h of the
// replication).
Result<void> DjangoDatabaseSessions::mark_as_carried() {
  TRY(const auto moved, query("SELECT pg_catalog.to_regclass('banyan.progress')"));
  if (moved.is_null(0, 0)) return {};
  TRY_VOID(
      query("SELECT pg_catalog.set_config('banyan.apply', nonce, true) FROM banyan.secret"
            " WHERE name = $1",
            {migration_}));
  TRY_VOID(
      query("UPDATE banyan.progress SET changed_at = pg_catalog.clock_timestamp()"
            " WHERE stream = $1 || ':new' AND part = 0",
            {migration_}));
  return {};
}

Result<pg::Rows> DjangoDatabaseSessions::change(std::string_view sql, const std::string& records) {
  TRY_VOID(query("BEGIN"));
  auto marked = mark_as_carried();
  auto rows = marked ? query(sql, {records}) : Result<pg::Rows>(std::unexpected(marked.error()));
  if (!rows) {
    connection_.reset();  // ends the transaction
    return rows;
  }
  TRY_VOID(query("COMMIT"));
  return rows;
}

Result<std::vector<Session>> DjangoDatabaseSessions::read(std::span<const std::string> keys) {
  std::vector<Session> found;
  if (keys.empty()) return found;
  TRY(const auto rows, query("SELECT session_key, {digest}, {left_ms}, session_data FROM {table}"
                             " WHERE expire_date > pg_catalog.now() AND session_key IN"
                             " (SELECT pg_catalog.jsonb_array_elements_text($1::jsonb))",
                             {json_array(keys)}));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Session session{.key = rows.str(i, 0),
                    .digest = rows.str(i, 1),
                    .left_ms = rows.integer(i, 2),
                    .value = std::nullopt};
    if (auto value = unsign_session(rows.text(i, 3), secret_key_))
      session.value = *std::move(value);
    found.push_back(std::move(session));
  }
  return found;
}

Result<std::vector<std::string>> DjangoDatabaseSessions::write(std::span<const Session> sessions) {
  if (sessions.empty()) return std::vector<std::string>();
  if (secret_key_.empty())
    return std::unexpected(
        Error(Code::kInvalidArgument, "sessions cannot be written to the database unsigned")
            .with_remedy("Give the application's SECRET_KEY (secret_key) to the session sync."));
  nlohmann::json records = nlohmann::json::array();
  const Wall now = SystemClock().wall();
  for (const Session& session : sessions) {
    TRY(const std::string text, sign_session(*session.value, secret_key_, now));
    records.push_back({{"k", session.key}, {"d", text}, {"ms", session.left_ms}});
  }
  TRY(const auto rows,
      change("INSERT INTO {table} (session_key, session_data, expire_date)"
             " SELECT k, d, pg_catalog.now() + ms * interval '1 millisecond'"
             " FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS r(k text, d text, ms bigint)"
             " ON CONFLICT (session_key) DO UPDATE SET"
             " session_data = excluded.session_data, expire_date = excluded.expire_date"
             " RETURNING session_key, pg_catalog.md5({table}.session_data ||"
             " extract(epoch from {table}.expire_date)::text)",
             records.dump()));
  std::unordered_map<std::string, std::string> digests;
  for (std::size_t i = 0; i < rows.size(); ++i) digests[rows.str(i, 0)] = rows.str(i, 1);
  std::vector<std::string> in_order;
  for (const Session& session : sessions) in_order.push_back(digests[session.key]);
  return in_order;
}

Result<void> DjangoDatabaseSessions::erase(std::span<const std::string> keys) {
  if (keys.empty()) return {};
  TRY_VOID(
      change("DELETE FROM {table} WHERE session_key IN"
             " (SELECT pg_catalog.jsonb_array_elements_text($1::jsonb))",
             json_array(keys)));
  return {};
}

}  // namespace banyan::sessions
