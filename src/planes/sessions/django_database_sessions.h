#pragma once
// Sessions of django.contrib.sessions.backends.db in PostgreSQL: the table django_session.

#include <optional>
#include <string>

#include "planes/sessions/session_store.h"
#include "wire/pg/connection.h"

namespace banyan::sessions {

class DjangoDatabaseSessions final : public SessionStore {
 public:
  // `secret_key` is Django's SECRET_KEY: without it write() is refused and signatures are not
  // checked. `migration`: where it moves this database too, writes pass its fence and are marked as
  // carried ones (schema banyan), so that they are not taken for an application's.
  DjangoDatabaseSessions(std::string url, std::string secret_key, std::string migration = {})
      : url_(std::move(url)),
        secret_key_(std::move(secret_key)),
        migration_(std::move(migration)) {}

  Result<std::vector<Fingerprint>> survey() override;
  Result<std::vector<Session>> read(std::span<const std::string> keys) override;
  Result<std::vector<std::string>> write(std::span<const Session> sessions) override;
  Result<void> erase(std::span<const std::string> keys) override;

 private:
  // Runs with {table} replaced by the qualified name; closes the connection when it fails.
  Result<pg::Rows> query(std::string_view sql, std::initializer_list<pg::Param> params = {});
  // The same in a transaction that may write while the fence is up.
  Result<pg::Rows> change(std::string_view sql, const std::string& records);
  Result<void> mark_as_carried();
  Result<void> connect();

  std::string url_;
  std::string secret_key_;
  std::string migration_;
  std::optional<pg::Connection> connection_;
  std::string table_;
};

}  // namespace banyan::sessions
