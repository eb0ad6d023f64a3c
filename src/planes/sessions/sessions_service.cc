#include "planes/sessions/sessions_service.h"

#include <fstream>
#include <iterator>

#include "base/log.h"

namespace banyan::sessions {

using nlohmann::json;

namespace {

constexpr std::string_view kKeyPrefix = "sessions/";
constexpr long kVerifyWaitMs = 3000;

std::string key_of(const std::string& name) {
  return std::string(kKeyPrefix) + name;
}

Result<std::string> read_secret(const std::string& path) {
  std::ifstream file(path);
  if (!file) return failure(Code::kNotFound, "the secret_key_file '" + path + "' cannot be read");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace

Result<std::unique_ptr<SessionsService>> SessionsService::open(store::StateStore& store,
                                                               const Clock& clock) {
  auto service = std::make_unique<SessionsService>(store, clock);
  TRY_VOID(service->restore());
  return service;
}

Result<void> SessionsService::restore() {
  TRY(const auto keys, store_.keys(kKeyPrefix));
  for (const std::string& key : keys) {
    TRY(const auto stored, store_.get(key));
    if (!stored) continue;
    TRY(auto config, config_from_json(stored->value.at("config")));
    const Phase phase = phase_from_name(stored->value.value("phase", ""));
    log_info("session sync resumed", {{"sync", config.name}, {"phase", phase_name(phase)}});
    const std::string name = config.name;
    syncs_.with([&](Syncs& syncs) {
      syncs[name] = std::make_shared<SessionSync>(std::move(config), phase, clock_);
    });
  }
  return {};
}

Result<void> SessionsService::remember(const SessionSync& sync) {
  return store_.put(key_of(sync.config().name), json{{"config", config_to_json(sync.config())},
                                                     {"phase", phase_name(sync.phase())}});
}

Result<std::shared_ptr<SessionSync>> SessionsService::find(const json& in) {
  const std::string name = in.value("name", "");
  auto found = syncs_.with([&](const Syncs& syncs) -> std::shared_ptr<SessionSync> {
    const auto at = syncs.find(name);
    return at == syncs.end() ? nullptr : at->second;
  });
  if (found == nullptr)
    return std::unexpected(Error(Code::kNotFound, "no session sync is named '" + name + "'")
                               .with_remedy("Start it with sessions.start."));
  return found;
}

Result<json> SessionsService::start(const json& in) {
  TRY(auto config, config_from_json(in));
  if (const std::string file = in.value("secret_key_file", ""); !file.empty()) {
    TRY(config.secret_key, read_secret(file));
  }
  const json wanted = config_to_json(config);
  if (const auto running = find(in); running && config_to_json((*running)->config()) == wanted)
    return json::object();
  const std::string name = config.name;
  auto sync = std::make_shared<SessionSync>(std::move(config), Phase::kCarrying, clock_);
  TRY_VOID(remember(*sync));
  syncs_.with([&](Syncs& syncs) { syncs[name].swap(sync); });
  return json::object();  // the one it replaces ends here
}

Result<json> SessionsService::status(const json& in) {
  if (in.contains("name")) {
    TRY(const auto sync, find(in));
    return sync->status();
  }
  return syncs_.with([](const Syncs& syncs) {
    json out = syncs.size() == 1 ? syncs.begin()->second->status() : json::object();
    json all = json::array();
    for (const auto& [name, sync] : syncs) all.push_back(sync->status());
    out["syncs"] = std::move(all);
    return out;
  });
}

Result<json> SessionsService::final_pass(const json& in) {
  const std::string direction = in.value("direction", "to_new");
  if (direction != "to_new" && direction != "to_old")
    return failure(Code::kInvalidArgument, "direction is to_new or to_old");
  TRY(const auto sync, find(in));
  TRY(json out, sync->final_pass(direction == "to_new" ? Direction::kToNew : Direction::kToOld));
  TRY_VOID(remember(*sync));
  return out;
}

Result<json> SessionsService::verify(const json& in) {
  TRY(const auto sync, find(in));
  return sync->verify(in.value("wait_ms", kVerifyWaitMs) * 1ms);
}

Result<json> SessionsService::resume(const json& in) {
  TRY(const auto sync, find(in));
  sync->resume();
  TRY_VOID(remember(*sync));
  return json::object();
}

Result<json> SessionsService::stop(const json& in) {
  const std::string name = in.value("name", "");
  TRY_VOID(store_.remove(key_of(name)));
  std::shared_ptr<SessionSync> stopped;
  syncs_.with([&](Syncs& syncs) {
    if (const auto found = syncs.find(name); found != syncs.end()) {
      stopped = std::move(found->second);
      syncs.erase(found);
    }
  });
  return json::object();
}

}  // namespace banyan::sessions
