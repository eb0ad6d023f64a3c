#pragma once
// SessionSync: keeps the sessions of one application in Redis equal to those in its database while
// the old side serves, and makes them exactly equal inside a hold.
//
//   carrying ──final to_new──► settled_new ──final to_old──► settled_old
//      ▲  ▲                         │                            │
//      │  └─────────resume──────────┴────────────resume──────────┘
//
//   carrying     set by start and resume: a background pass each second, database to Redis.
//   settled_new  set by final: the new side may serve from Redis; nothing is carried any more, or
//   the settled_old  background would overwrite what the serving side writes. Resume once it is
//   sure that
//                the old side serves: after a cutover was given up, or taken back.
// All of it survives a restart (SessionsService keeps it). Any thread.

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/sessions/carrier.h"
#include "planes/sessions/django_database_sessions.h"
#include "planes/sessions/django_redis_sessions.h"

namespace banyan::sessions {

struct SyncConfig {
  std::string name;
  std::string database;
  std::string redis;
  CacheMode mode = CacheMode::kCachedDb;
  std::string key_prefix;
  std::string secret_key;  // Django's; needed only to write sessions back to the database
};
Result<SyncConfig> config_from_json(const nlohmann::json& in);
nlohmann::json config_to_json(const SyncConfig& config);

enum class Phase : std::uint8_t { kCarrying, kSettledNew, kSettledOld };
std::string_view phase_name(Phase phase);
Phase phase_from_name(std::string_view name);

enum class Direction : std::uint8_t { kToNew, kToOld };

class SessionSync {
 public:
  SessionSync(SyncConfig config, Phase phase, const Clock& clock);
  ~SessionSync();  // stops the background
  SessionSync(const SessionSync&) = delete;
  SessionSync& operator=(const SessionSync&) = delete;

  const SyncConfig& config() const { return config_; }
  Phase phase() const { return phase_; }

  nlohmann::json status() const;
  // The last pass: {sessions, changed, ms}. Ends the carrying.
  Result<nlohmann::json> final_pass(Direction direction);
  // Decodes both sides; differences are looked at again for up to `patience` while carrying.
  Result<nlohmann::json> verify(Duration patience);
  void resume();

 private:
  struct Engine {
    Engine(const SyncConfig& config);  // NOLINT(google-explicit-constructor)
    DjangoDatabaseSessions database;
    DjangoRedisSessions redis;
    Carrier forward;
    Carrier back;
  };
  struct Progress {
    bool stopping = false;
    PassResult last;
    std::size_t carried = 0;
    long last_pass_ms = 0;
    std::string error;
    std::string remedy;
  };

  void run(const std::stop_token& stop);
  void background_pass(Thorough thorough);
  Result<PassResult> timed_pass(Engine& engine, Carrier& carrier, Thorough thorough);
  Result<PassResult> pass_back(Engine& engine);
  void note(const Result<PassResult>& pass, std::size_t carried, long ms);

  const SyncConfig config_;
  const Clock& clock_;
  std::atomic<Phase> phase_;
  std::atomic<bool> survey_next_ = true;  // the next background pass is thorough
  Guarded<Engine> engine_;
  Guarded<Progress> progress_;
  std::jthread background_;
};

}  // namespace banyan::sessions
