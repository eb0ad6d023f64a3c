#include "planes/sessions/session_sync.h"

#include <algorithm>
#include <array>

#include "base/log.h"

namespace banyan::sessions {

using nlohmann::json;

namespace {

constexpr Duration kPassInterval = 1s;
constexpr int kRestShare = 10;      // the background is busy at most 1/10 of the time
constexpr int kThoroughEvery = 30;  // passes
constexpr std::array<std::string_view, 3> kPhaseNames = {"carrying", "settled_new", "settled_old"};

}  // namespace

Result<SyncConfig> config_from_json(const json& in) {
  SyncConfig config;
  config.name = in.value("name", "");
  config.database = in.value("database", "");
  config.redis = in.value("redis", "");
  config.key_prefix = in.value("key_prefix", "");
  config.secret_key = in.value("secret_key", "");
  const std::string kind = in.value("kind", "django-db");
  const std::string mode = in.value("mode", "cached_db");
  if (kind != "django-db")
    return std::unexpected(Error(Code::kUnsupported, "sessions of kind '" + kind + "'")
                               .with_remedy("Use kind: django-db."));
  if (mode != "cached_db" && mode != "cache")
    return failure(Code::kInvalidArgument, "mode is cached_db or cache, not '" + mode + "'");
  if (config.name.empty() || config.database.empty())
    return failure(Code::kInvalidArgument, "a session sync needs name, database and redis");
  TRY_VOID(redis::parse_url(config.redis));
  config.mode = mode == "cache" ? CacheMode::kCache : CacheMode::kCachedDb;
  return config;
}

json config_to_json(const SyncConfig& config) {
  return {{"name", config.name},
          {"kind", "django-db"},
          {"database", config.database},
          {"redis", config.redis},
          {"mode", config.mode == CacheMode::kCache ? "cache" : "cached_db"},
          {"key_prefix", config.key_prefix},
          {"secret_key", config.secret_key}};
}

std::string_view phase_name(Phase phase) {
  return kPhaseNames[std::to_underlying(phase)];
}

Phase phase_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kPhaseNames.size(); ++i)
    if (kPhaseNames[i] == name) return static_cast<Phase>(i);
  return Phase::kCarrying;
}

SessionSync::Engine::Engine(const SyncConfig& config)
    : database(config.database, config.secret_key, config.name),
      redis(config.redis, config.mode, config.key_prefix),
      forward(database, redis, Unreadable::kErase),
      back(redis, database, Unreadable::kKeep) {}

SessionSync::SessionSync(SyncConfig config, Phase phase, const Clock& clock)
    : config_(std::move(config)), clock_(clock), phase_(phase), engine_(config_) {
  background_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

SessionSync::~SessionSync() {
  background_.request_stop();
  progress_.change([](Progress& progress) { progress.stopping = true; });
}

void SessionSync::run(const std::stop_token& stop) {
  for (int pass = 0; !stop.stop_requested(); ++pass) {
    if (phase_ == Phase::kCarrying)
      background_pass(survey_next_.exchange(false) || pass % kThoroughEvery == 0 ? Thorough::kYes
                                                                                 : Thorough::kNo);
    const auto busy_ms = progress_.with([](const Progress& p) { return p.last_pass_ms; });
    const Duration rest = std::max(kPassInterval, Duration(busy_ms * kRestShare * 1ms));
    (void)progress_.wait_for(rest, [](const Progress& p) { return p.stopping; });  // looks at stop
  }
}

void SessionSync::resume() {
  survey_next_ = true;  // Redis holds what the new side wrote
  phase_ = Phase::kCarrying;
}

void SessionSync::background_pass(Thorough thorough) {
  engine_.with([&](Engine& engine) {
    if (phase_ != Phase::kCarrying) return;  // a final pass ran while this one waited
    const auto pass = timed_pass(engine, engine.forward, thorough);
    if (!pass)
      log_warn("sessions are not carried",
               {{"sync", config_.name}, {"error", pass.error().message()}});
  });
}

// A connection may have died since the last pass; passes are idempotent, so once more is safe.
Result<PassResult> SessionSync::timed_pass(Engine& engine, Carrier& carrier, Thorough thorough) {
  const Mono begin = clock_.now();
  auto pass = carrier.pass(thorough);
  if (!pass && pass.error().code() == Code::kUnavailable) pass = carrier.pass(thorough);
  const auto unreadable = pass ? pass->unreadable : 0;
  note(pass, engine.forward.carried() - std::min(unreadable, engine.forward.carried()),
       to_ms(clock_.now() - begin));
  return pass;
}

void SessionSync::note(const Result<PassResult>& pass, std::size_t carried, long ms) {
  progress_.with([&](Progress& progress) {
    progress.last_pass_ms = ms;
    progress.error = pass ? "" : pass.error().message();
    progress.remedy = pass ? "" : pass.error().remedy();
    if (!pass) return;
    progress.last = *pass;
    progress.carried = carried;
  });
}

Result<json> SessionSync::final_pass(Direction direction) {
  const Mono begin = clock_.now();
  return engine_.with([&](Engine& engine) -> Result<json> {
    TRY(const PassResult pass, direction == Direction::kToNew
                                   ? timed_pass(engine, engine.forward, Thorough::kYes)
                                   : pass_back(engine));
    phase_ = direction == Direction::kToNew ? Phase::kSettledNew : Phase::kSettledOld;
    const long ms = to_ms(clock_.now() - begin);
    log_info("sessions settled", {{"sync", config_.name},
                                  {"phase", phase_name(phase_)},
                                  {"changed", pass.changed},
                                  {"ms", ms}});
    return json{{"sessions", pass.sessions},
                {"changed", pass.changed},
                {"unreadable", pass.unreadable},
                {"ms", ms}};
  });
}

// With cached_db the new side wrote its sessions to its database, and replication brought them
// back. A Redis that holds nothing has lost its memory: the older sessions of the database are
// better.
Result<PassResult> SessionSync::pass_back(Engine& engine) {
  if (config_.mode == CacheMode::kCache) {
    TRY(const auto in_redis, engine.redis.survey());
    if (!in_redis.empty()) return timed_pass(engine, engine.back, Thorough::kYes);
    log_warn("redis holds no session; the database keeps what it has", {{"sync", config_.name}});
  }
  TRY(const auto in_database, engine.database.survey());
  return PassResult{.sessions = in_database.size(), .changed = 0, .unreadable = 0};
}

Result<json> SessionSync::verify(Duration patience) {
  const Mono deadline = clock_.now() + patience;
  while (true) {
    TRY(const Comparison found, engine_.with([&](Engine& engine) -> Result<Comparison> {
      if (phase_ == Phase::kCarrying) {
        TRY_VOID(timed_pass(engine, engine.forward, Thorough::kYes));
      }
      return engine.forward.compare();
    }));
    const bool final_word =
        found.different == 0 || phase_ != Phase::kCarrying || clock_.now() >= deadline;
    if (final_word)
      return json{{"state", found.different == 0 ? "equal" : "different"},
                  {"sessions", found.sessions},
                  {"different", found.different}};
  }
}

json SessionSync::status() const {
  json out = {
      {"name", config_.name},
      {"state", phase_name(phase_)},
      {"mode", config_.mode == CacheMode::kCache ? "cache" : "cached_db"},
      {"direction", phase_ == Phase::kSettledOld ? "to_old" : "to_new"},
      {"reverse_ready", config_.mode == CacheMode::kCachedDb || !config_.secret_key.empty()}};
  progress_.with([&](const Progress& progress) {
    out["sessions"] = progress.last.sessions;
    out["carried"] = progress.carried;
    out["unreadable"] = progress.last.unreadable;
    out["last_pass_ms"] = progress.last_pass_ms;
    if (progress.error.empty()) return;
    out["error"] = progress.error;
    out["remedy"] = progress.remedy;
  });
  return out;
}

}  // namespace banyan::sessions
