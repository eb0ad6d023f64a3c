#include "planes/fleet/fleet.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "base/check.h"
#include "base/log.h"

namespace banyan::fleet {

using nlohmann::json;

namespace {

constexpr std::string_view kKey = "fleet";
constexpr Duration kStartingInterval = 50ms;
constexpr Duration kReadyInterval = 500ms;
constexpr Duration kRetryInterval = 200ms;  // after a failed check
constexpr int kMissesMax = 3;               // failed checks until ready becomes unhealthy
constexpr Duration kSettled = 1s;           // ready for so long: earlier failures are forgotten
constexpr int kHostsMax = 250;              // per zone
constexpr std::uint64_t kLogBytesMax = 16 << 20;
constexpr Duration kRotateInterval = 10s;

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

std::map<std::string, std::string> variables_of(const Instance& instance) {
  return {{"PORT", std::to_string(instance.port)},
          {"HOST", instance.host},
          {"ZONE", instance.seen.zone},
          {"INSTANCE", instance.seen.id}};
}

std::string substituted(std::string text, const std::map<std::string, std::string>& variables) {
  for (const auto& [name, value] : variables) replace_all(text, "${" + name + "}", value);
  return text;
}

constexpr std::array<std::string_view, 6> kStoredStates = {"starting", "ready",    "unhealthy",
                                                           "backoff",  "draining", "stopping"};

json to_json(const Instance& instance) {
  return {{"id", instance.seen.id},
          {"service", instance.seen.service},
          {"zone", instance.seen.zone},
          {"revision", instance.seen.revision},
          {"state", kStoredStates[std::to_underlying(instance.seen.state)]},
          {"host", instance.host},
          {"port", instance.port},
          {"pid", instance.process.pid},
          {"start_time", instance.process.start_time},
          {"mark", instance.mark},
          {"restarts", instance.restarts},
          {"failures", instance.failures},
          {"since_ns", instance.since.time_since_epoch().count()}};
}

Instance from_json(const json& in, Mono now) {
  Instance instance;
  instance.seen = {.id = in.at("id"),
                   .service = in.at("service"),
                   .zone = in.at("zone"),
                   .revision = in.at("revision"),
                   .state = InstanceState::kStarting,
                   .since = now,
                   .retry_at = now};
  const auto state = std::ranges::find(kStoredStates, in.at("state").get<std::string>());
  if (state != kStoredStates.end())
    instance.seen.state = static_cast<InstanceState>(state - kStoredStates.begin());
  instance.host = in.at("host");
  instance.port = in.at("port");
  instance.process = {.pid = in.at("pid"), .start_time = in.at("start_time")};
  instance.mark = in.at("mark");
  instance.restarts = in.at("restarts");
  instance.failures = in.at("failures");
  instance.since = Wall(Duration(in.at("since_ns").get<long>()));
  return instance;
}

bool is_leaving(const Instance& instance) {
  return instance.seen.state == InstanceState::kDraining ||
         instance.seen.state == InstanceState::kStopping;
}

bool is_checked(const Instance& instance) {
  return instance.process.pid != 0 && instance.seen.state != InstanceState::kBackoff &&
         !is_leaving(instance);
}

}  // namespace

Fleet::Fleet(store::StateStore& store, const Clock& clock, std::string directory)
    : store_(store),
      clock_(clock),
      directory_(std::move(directory)),
      random_(std::random_device{}()) {}

Result<std::unique_ptr<Fleet>> Fleet::open(store::StateStore& store, const Clock& clock,
                                           std::string directory) {
  std::error_code problem;
  std::filesystem::create_directories(directory + "/logs", problem);
  if (problem)
    return failure(Code::kPermission, "creating " + directory + "/logs: " + problem.message());
  auto fleet = std::make_unique<Fleet>(store, clock, std::move(directory));
  TRY_VOID(fleet->restore());
  return fleet;
}

Result<void> Fleet::restore() {
  TRY(const auto stored, store_.get(kKey));
  if (!stored) return {};
  services_json_ = stored->value.at("services");
  TRY(services_, services_from_json(services_json_));
  for (const json& each : stored->value.at("instances")) {
    instances_.push_back(from_json(each, clock_.now()));
    adopt(instances_.back());
  }
  return save();
}

// A process may have been started after the last save: then only its mark is known.
void Fleet::adopt(Instance& instance) {
  if (instance.process.pid == 0 && instance.seen.state != InstanceState::kBackoff)
    if (const auto found = find_marked(instance.mark)) instance.process = *found;
  if (is_alive(instance.process)) {
    log_info("instance adopted", {{"instance", instance.seen.id}, {"pid", instance.process.pid}});
    return;
  }
  if (instance.seen.state != InstanceState::kBackoff) on_exit(instance);
}

Result<void> Fleet::save() {
  json instances = json::array();
  for (const Instance& instance : instances_) instances.push_back(to_json(instance));
  TRY_VOID(store_.put(kKey, json{{"services", services_json_}, {"instances", instances}}));
  changed_ = false;
  return {};
}

void Fleet::save_if_changed() {
  if (!changed_) return;
  if (const auto saved = save(); !saved)
    log_error("fleet state is not saved", {{"error", saved.error().message()}});
}

Result<void> Fleet::apply(const json& services) {
  TRY(auto parsed, services_from_json(services));
  services_json_ = services;
  services_ = std::move(parsed);
  return save();
}

Result<void> Fleet::stop(const std::string& service) {
  json left = json::array();
  for (const json& each : services_json_)
    if (!service.empty() && each.value("name", "") != service) left.push_back(each);
  return apply(left);
}

bool Fleet::has_instances(const std::string& service) const {
  return std::ranges::any_of(instances_, [&](const Instance& instance) {
    return service.empty() || instance.seen.service == service;
  });
}

Result<void> Fleet::drained(const std::string& id) {
  Instance* const instance = find(id);
  if (instance == nullptr) return {};  // stopped already
  if (!is_leaving(*instance))
    return failure(Code::kConflict, "instance '" + id + "' is not being drained");
  if (instance->seen.state == InstanceState::kDraining)
    perform_on(*instance, FleetAct::Kind::kTerminate);
  return save();
}

Instance* Fleet::find(std::string_view id) {
  const auto found =
      std::ranges::find_if(instances_, [&](const Instance& i) { return i.seen.id == id; });
  return found == instances_.end() ? nullptr : &*found;
}

const ServiceSpec* Fleet::spec_of(std::string_view service) const {
  const auto found =
      std::ranges::find_if(services_, [&](const ServiceSpec& s) { return s.wish.name == service; });
  return found == services_.end() ? nullptr : &*found;
}

std::string Fleet::log_path(const Instance& instance) const {
  return fmt::format("{}/logs/{}.log", directory_, instance.seen.id);
}

std::vector<SeenInstance> Fleet::observed() const {
  std::vector<SeenInstance> seen;
  for (const Instance& instance : instances_) seen.push_back(instance.seen);
  return seen;
}

void Fleet::tick(const std::vector<ProbeOutcome>& outcomes) {
  reap();
  for (const ProbeOutcome& outcome : outcomes) on_health(outcome);
  std::vector<ServiceWish> wishes;
  for (const ServiceSpec& service : services_) wishes.push_back(service.wish);
  for (const FleetAct& act : next_fleet_acts(wishes, observed(), clock_.now())) perform(act);
  save_if_changed();
  if (!changed_) launch_prepared();  // only what is remembered may be started
  save_if_changed();
  rotate_logs();
}

void Fleet::reap() {
  for (Instance& instance : instances_)
    if (instance.process.pid != 0 && !is_alive(instance.process)) on_exit(instance);
  std::erase_if(instances_, [](const Instance& i) { return is_leaving(i) && i.process.pid == 0; });
}

void Fleet::on_exit(Instance& instance) {
  kill_marked(instance.mark);
  instance.process = {};
  changed_ = true;
  if (is_leaving(instance)) return;  // as it should; reap() forgets it
  const bool was_settled = instance.seen.state != InstanceState::kStarting &&
                           clock_.now() - instance.seen.since >= kSettled;
  instance.failures = was_settled ? 1 : instance.failures + 1;
  ++instance.restarts;
  const double chance = std::uniform_real_distribution<double>(0, 1)(random_);
  const Duration delay = backoff_delay(instance.failures, chance);
  turn(instance, InstanceState::kBackoff);
  instance.seen.retry_at = clock_.now() + delay;
  log_warn("instance ended", {{"instance", instance.seen.id},
                              {"failures", instance.failures},
                              {"restart_in_ms", to_ms(delay)}});
}

void Fleet::on_health(const ProbeOutcome& outcome) {
  Instance* const instance = find(outcome.instance);
  if (instance == nullptr || !is_checked(*instance)) return;
  const bool good = outcome.health == Health::kGood;
  const InstanceState state = instance->seen.state;
  instance->misses = good ? 0 : instance->misses + 1;
  const Duration pause = state == InstanceState::kStarting ? kStartingInterval
                         : good                            ? kReadyInterval
                                                           : kRetryInterval;
  instance->probe_at = clock_.now() + pause;
  if (good && state != InstanceState::kReady) turn(*instance, InstanceState::kReady);
  if (state == InstanceState::kReady && instance->misses >= kMissesMax)
    turn(*instance, InstanceState::kUnhealthy);
}

void Fleet::turn(Instance& instance, InstanceState state) {
  log_info("instance changed", {{"instance", instance.seen.id},
                                {"from", state_name(instance.seen.state)},
                                {"to", state_name(state)}});
  instance.seen.state = state;
  instance.seen.since = clock_.now();
  instance.since = clock_.wall();
  instance.misses = 0;
  changed_ = true;
}

void Fleet::perform(const FleetAct& act) {
  if (act.kind == FleetAct::Kind::kStart) return prepare_start(act);
  if (act.kind == FleetAct::Kind::kForget) {
    std::erase_if(instances_, [&](const Instance& i) { return i.seen.id == act.instance; });
    changed_ = true;
    return;
  }
  if (Instance* const instance = find(act.instance)) perform_on(*instance, act.kind);
}

void Fleet::perform_on(Instance& instance, FleetAct::Kind kind) {
  switch (kind) {
    case FleetAct::Kind::kRelaunch:
      return prepare_launch(instance);
    case FleetAct::Kind::kDrain:
      return turn(instance, InstanceState::kDraining);
    case FleetAct::Kind::kTerminate:
      signal_group(instance.process, SIGTERM);
      return turn(instance, InstanceState::kStopping);
    default:
      signal_group(instance.process, SIGKILL);
  }
}

std::string Fleet::free_host(const std::string& base) const {
  for (int n = 1; n <= kHostsMax; ++n) {
    const std::string host = base + std::to_string(n);
    const bool taken =
        std::ranges::any_of(instances_, [&](const auto& i) { return i.host == host; });
    if (!taken) return host;
  }
  return {};
}

void Fleet::prepare_start(const FleetAct& act) {
  const ServiceSpec* const service = spec_of(act.service);
  CHECK(service != nullptr);
  const auto zone = std::ranges::find(service->zones, act.zone, &Zone::name);
  CHECK(zone != service->zones.end());
  Instance instance;
  instance.host = free_host(zone->address_base);
  if (instance.host.empty()) return;  // looked at again in the next tick
  const auto number = instance.host.substr(zone->address_base.size());
  instance.seen.id = fmt::format("{}-{}-{}", act.service, act.zone, number);
  instance.seen.service = act.service;
  instance.seen.zone = act.zone;
  instances_.push_back(std::move(instance));
  prepare_launch(instances_.back());
}

// The port stays over restarts, unless somebody else took it.
void Fleet::prepare_launch(Instance& instance) {
  const ServiceSpec* const service = spec_of(instance.seen.service);
  if (service == nullptr) return;
  instance.seen.revision = service->wish.revision;
  instance.mark = fmt::format("{:016x}{:016x}", random_(), random_());
  if (instance.port == 0 || instance.failures > kMissesMax)
    instance.port = free_port(instance.host).value_or(0);
  turn(instance, InstanceState::kStarting);
  instance.probe_at = clock_.now() + kStartingInterval;
}

void Fleet::launch_prepared() {
  for (Instance& instance : instances_) {
    if (instance.seen.state != InstanceState::kStarting || instance.process.pid != 0) continue;
    const ServiceSpec* const service = spec_of(instance.seen.service);
    if (service == nullptr) continue;
    Launch launch{.command = service->command,
                  .cwd = service->cwd,
                  .env = service->env,
                  .log_path = log_path(instance),
                  .mark = instance.mark};
    const auto variables = variables_of(instance);
    for (std::string& word : launch.command) word = substituted(std::move(word), variables);
    for (auto& [name, value] : launch.env) value = substituted(std::move(value), variables);
    for (const auto& [name, value] : variables) launch.env[name] = value;
    const auto process = spawn(launch);
    changed_ = true;
    if (process) {
      instance.process = *process;
    } else {
      log_error("instance does not start",
                {{"instance", instance.seen.id}, {"error", process.error().message()}});
      on_exit(instance);
    }
  }
}

std::vector<ProbeTarget> Fleet::due_probes() {
  std::vector<ProbeTarget> due;
  const Mono now = clock_.now();
  for (const Instance& instance : instances_) {
    const ServiceSpec* const service = spec_of(instance.seen.service);
    if (service == nullptr || !is_checked(instance) || now < instance.probe_at) continue;
    due.push_back({.instance = instance.seen.id,
                   .host = instance.host,
                   .port = instance.port,
                   .path = service->health_path,
                   .host_header = service->health_host,
                   .timeout = service->health_timeout});
  }
  return due;
}

void Fleet::rotate_logs() {
  if (clock_.now() < rotate_at_) return;
  rotate_at_ = clock_.now() + kRotateInterval;
  for (const Instance& instance : instances_) rotate_log(log_path(instance), kLogBytesMax);
}

json Fleet::status() const {
  std::map<std::string, json> services;
  for (const ServiceSpec& service : services_) {
    int desired = 0;
    for (const int target : zone_targets(service.wish)) desired += target;
    services[service.wish.name] = {{"name", service.wish.name}, {"desired", desired}};
  }
  for (const Instance& instance : instances_) {
    const SeenInstance& seen = instance.seen;
    json& service = services[seen.service];
    if (service.is_null()) service = {{"name", seen.service}, {"desired", 0}};
    service["instances"].push_back({{"id", seen.id},
                                    {"zone", seen.zone},
                                    {"address", fmt::format("{}:{}", instance.host, instance.port)},
                                    {"pid", instance.process.pid},
                                    {"state", state_name(seen.state)},
                                    {"restarts", instance.restarts},
                                    {"since", rfc3339(instance.since)}});
    if (seen.state == InstanceState::kReady) service["ready"] = service.value("ready", 0) + 1;
  }
  json out = json::array();
  for (auto& [name, service] : services) {
    if (!service.contains("ready")) service["ready"] = 0;
    if (!service.contains("instances")) service["instances"] = json::array();
    out.push_back(std::move(service));
  }
  return {{"services", std::move(out)}};
}

}  // namespace banyan::fleet
