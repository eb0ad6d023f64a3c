#pragma once
// Sessions of Django in a Redis cache (django-redis, or Django's own backend since 4.0): pickled
// dicts under `<KEY_PREFIX>:1:django.contrib.sessions.cached_db<key>`, or `.cache<key>`.

#include <optional>
#include <string>

#include "planes/sessions/session_store.h"
#include "wire/redis/client.h"

namespace banyan::sessions {

// The SESSION_ENGINE of the application on the new side.
enum class CacheMode : std::uint8_t {
  kCachedDb,  // Redis in front of the database: what Redis misses is found there
  kCache,     // Redis alone
};

class DjangoRedisSessions final : public SessionStore {
 public:
  DjangoRedisSessions(std::string url, CacheMode mode, std::string_view key_prefix);

  Result<std::vector<Fingerprint>> survey() override;
  Result<std::vector<Session>> read(std::span<const std::string> keys) override;
  Result<std::vector<std::string>> write(std::span<const Session> sessions) override;
  Result<void> erase(std::span<const std::string> keys) override;

 private:
  struct Stored {
    std::string bytes;
    std::int64_t left_ms = 0;  // negative: there is none
  };
  Result<redis::Client*> client();
  Result<std::vector<std::string>> keys();
  // In the order of `keys`.
  Result<std::vector<Stored>> fetch(std::span<const std::string> keys);
  Result<void> run_all(std::span<const redis::Command> commands);

  std::string url_;
  std::string prefix_;
  std::optional<redis::Client> client_;
};

}  // namespace banyan::sessions
