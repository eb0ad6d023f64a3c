#include "control/service.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/fail_point.h"
#include "base/log.h"
#include "control/gates.h"
#include "control/live_world.h"
#include "control/planner.h"
#include "migration/cutover.h"

namespace banyan::control {

using migration::Side;
using nlohmann::json;

namespace {

constexpr Duration kKeeperPause = 300ms;
constexpr Duration kKeeperPatience = 2s;
constexpr Duration kStartPatience = 10s;

std::int64_t epoch_of(const json& gateway) {
  return gateway.value("epoch", std::int64_t{0});
}

// What an act would do, step by step; what this migration does not move is left out.
json steps_json(const spec::Migration& migration) {
  migration::Observation seen;
  seen.files_drained = seen.turned = migration.files.empty();
  seen.sessions_carried = !migration.sessions;
  json steps = json::array();
  for (const auto act : migration::undisturbed_acts(seen))
    steps.push_back({{"step", migration::act_name(act)}, {"does", migration::act_purpose(act)}});
  return steps;
}

json event_json(const store::JournalEntry& entry) {
  return {{"sequence", entry.sequence}, {"act_id", entry.act_id},
          {"step", entry.step},         {"kind", store::kind_name(entry.kind)},
          {"detail", entry.detail},     {"time", rfc3339(entry.time)}};
}

Error not_green(const std::vector<migration::Gate>& gates, const std::string& name) {
  std::string red;
  std::string first = "banyan migrate status " + name;
  for (const auto& gate : gates) {
    if (gate.green) continue;
    red += (red.empty() ? "" : "; ") + gate.name + ": " + gate.seen;
    if (gate.name == "verified") first = "banyan migrate verify " + name;
  }
  return Error(Code::kConflict, "not every precondition holds: " + red)
      .with_remedy("1. " + first + "\n2. banyan migrate switch " + name + " --dry-run");
}

}  // namespace

ControlService::ControlService(Project project, std::unique_ptr<store::Journal> journal,
                               std::unique_ptr<store::StateStore> store)
    : project_(std::move(project)),
      journal_(std::move(journal)),
      store_(std::move(store)),
      records_(*store_) {}

Result<std::unique_ptr<ControlService>> ControlService::create(Project project) {
  static const SystemClock journal_clock;
  const std::string path = project.layout().database();
  TRY(auto journal, store::Journal::open(path, journal_clock));
  TRY(auto store, store::StateStore::open(path));
  auto service = std::unique_ptr<ControlService>(
      new ControlService(std::move(project), std::move(journal), std::move(store)));  // NOLINT
  service->conductor_ = std::jthread([s = service.get()] { s->resume_acts(); });
  service->keeper_ =
      std::jthread([s = service.get()](const std::stop_token& stop) { s->keep_routes(stop); });
  return service;
}

ControlService::~ControlService() {
  keeper_.request_stop();
  if (conductor_.joinable()) conductor_.join();
}

std::string ControlService::name_in(const json& in) {
  return in.at("name").get<std::string>();
}

Result<spec::Migration> ControlService::find_migration(const spec::Spec& spec,
                                                       const std::string& name) {
  const auto found = spec.migrations.find(name);
  if (found != spec.migrations.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [other, ignored] : spec.migrations) known.push_back(other);
  return std::unexpected(
      Error(Code::kNotFound, "no migration is called " + name)
          .with_remedy(known.empty()
                           ? "Declare one under `migrations` in the spec."
                           : fmt::format("Those of the spec: {}", fmt::join(known, ", "))));
}

// ---- acts

void ControlService::resume_acts() {
  (void)fail_point("control.resume");  // to be waited at; nothing can fail yet
  if (const auto spec = project_.spec())
    for (const auto& [name, migration] : spec->migrations) resume(name);
  busy_ = false;
  has_resumed_ = true;
}

void ControlService::resume(const std::string& name) {
  const std::lock_guard lock(change_);
  const auto spec = project_.spec();
  if (!spec) return;
  const auto record = records_.migration(name);
  if (record && record->is_under_way())
    if (const auto started = start_parts(*spec, spec->migrations.at(name)); !started)
      log_warn("parts of a migration did not start", {{"error", started.error().message()}});
  LiveWorld world(project_, *spec, records_);
  Conductor conductor(world, *journal_, clock_, {});
  if (const auto end = conductor.resume(name); !end)
    log_error("an interrupted act could not be finished", {{"error", end.error().message()}});
}

Error ControlService::busy() const {
  return Error(Code::kConflict, "an act is being carried out").with_remedy("banyan status");
}

Result<void> ControlService::refuse_while_busy() const {
  const auto until = clock_.now() + kStartPatience;
  while (!has_resumed_ && clock_.now() < until) std::this_thread::sleep_for(5ms);
  if (busy_) return std::unexpected(busy());
  return {};
}

Result<migration::Attempt> ControlService::new_attempt(const std::string& name, Side to) {
  TRY(const std::int64_t in_force, project_.gateways().epoch());
  TRY(const json data, project_.replicate().call("act.state", {{"name", name}}));
  const std::int64_t seen = std::max(in_force, data.value("epoch", std::int64_t{0}));
  TRY(const auto epoch, records_.next_epoch(seen));
  const std::string verb = to == Side::kNew ? "switch-" : "reverse-";
  return migration::Attempt{
      .migration = name, .act_id = verb + std::to_string(epoch), .to = to, .epoch = epoch};
}

Result<std::unique_lock<std::mutex>> ControlService::lock_routes() {
  TRY_VOID(refuse_while_busy());
  std::unique_lock lock(change_);
  if (busy_) return std::unexpected(busy());
  return lock;
}

Result<json> ControlService::cut_over(const json& in) {
  TRY(const auto lock, lock_routes());
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  const Side to = in.value("to", "new") == "new" ? Side::kNew : Side::kOld;
  TRY(const auto record, records_.migration(migration.name));
  TRY_VOID(require_under_way(record, migration.name));
  if (record.side == to)
    return json{{"already", true}, {"note", std::string(side_name(to)) + " side serves already"}};
  const auto gates =
      gates_for(spec, migration, look(project_, migration), record, to, clock_.wall());
  if (in.value("dry_run", false))
    return json{{"gates", gates_json(gates)}, {"steps", steps_json(migration)}, {"dry_run", true}};
  if (!migration::all_green(gates)) return std::unexpected(not_green(gates, migration.name));
  TRY(const auto attempt, new_attempt(migration.name, to));
  if (conductor_.joinable()) conductor_.join();
  busy_ = true;  // before the lock is given back: nobody changes routes until the act has it
  conductor_ = std::jthread([this, spec, attempt] { run_attempt(spec, attempt); });
  return json{{"act_id", attempt.act_id}, {"gates", gates_json(gates)}};
}

void ControlService::run_attempt(spec::Spec spec, migration::Attempt attempt) {
  {
    const std::lock_guard lock(change_);
    LiveWorld world(project_, std::move(spec), records_);
    Conductor conductor(world, *journal_, clock_, {});
    if (const auto end = conductor.run(attempt); !end)
      log_error("the act could not be journalled", {{"error", end.error().message()}});
  }
  busy_ = false;
}

Result<json> ControlService::events(const json& in) {
  const std::string act_id = in.value("act_id", "");
  TRY(const auto entries, journal_->read(name_in(in), in.value("after", std::int64_t{0})));
  json out = {{"events", json::array()}, {"busy", busy_.load()}};
  for (const auto& entry : entries) {
    if (!act_id.empty() && entry.act_id != act_id) continue;
    out["events"].push_back(event_json(entry));
    const bool end = entry.step == store::kActStep && entry.kind == store::EntryKind::kOutcome;
    if (end && entry.act_id == act_id) out["conclusion"] = entry.detail;
  }
  return out;
}

// ---- the keeper: the gateways' endpoints follow the fleet, and who was lost is brought back

void ControlService::keep_routes(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (const auto kept = keep_routes_once(); !kept)
      log_debug("routes not refreshed", {{"error", kept.error().message()}});
    std::this_thread::sleep_for(kKeeperPause);
  }
}

Result<void> ControlService::keep_routes_once() {
  const std::unique_lock lock(change_, std::try_to_lock);
  if (!lock || busy_) return {};
  TRY(const auto spec, project_.spec());
  TRY(const auto gateways, project_.gateways().tell("status", json::object(), {kKeeperPatience}));
  TRY(const json fleet, project_.agent().call("fleet.status"));
  TRY(const auto sides, records_.sides());
  std::int64_t newest = 0;
  for (const json& gateway : gateways) newest = std::max(newest, epoch_of(gateway));
  const bool all_have_it =
      std::ranges::all_of(gateways, [&](const json& one) { return epoch_of(one) == newest; });
  const json wanted = route_snapshot(spec, fleet, sides, newest);
  if (wanted != kept_) {
    TRY_VOID(fail_point("control.new_routes"));
    TRY(const auto epoch, records_.next_epoch(newest));
    kept_ = route_snapshot(spec, fleet, sides, epoch);
  }
  if (wanted != kept_ || !all_have_it)
    TRY_VOID(project_.gateways().tell("snapshot.put", {{"snapshot", kept_}}, {kKeeperPatience}));
  const bool any_closed = std::ranges::any_of(
      gateways, [](const json& one) { return one.value("phase", "open") != "open"; });
  return any_closed ? open_left_behind(spec) : Result<void>{};
}

// A gateway that was lost during an act is still closed. No act is open, so its routes are in
// force: the door leads to the side that serves.
Result<void> ControlService::open_left_behind(const spec::Spec& spec) {
  for (const auto& [name, migration] : spec.migrations) {
    TRY(const auto open, journal_->open_act(name));
    if (open) return {};
  }
  const auto epoch = kept_.value("epoch", std::int64_t{0});
  log_warn("opening a gateway that an act has left behind", {{"epoch", epoch}});
  TRY_VOID(project_.gateways().tell("hold.open", {{"epoch", epoch}}, {kKeeperPatience}));
  return {};
}

// ---- plan and apply

Result<json> ControlService::plan() {
  TRY(const auto spec, project_.spec());
  TRY(const auto plan, make_plan(project_, spec, records_));
  return to_json(plan);
}

Result<json> ControlService::apply(const json& in) {
  TRY(const auto lock, lock_routes());
  TRY(const auto spec, project_.spec());
  TRY(const auto plan, make_plan(project_, spec, records_));
  const std::string expected = in.value("hash", plan.hash);
  if (expected != plan.hash)
    return std::unexpected(Error(Code::kConflict, "the world changed since the plan was made")
                               .with_remedy("banyan plan"));
  TRY_VOID(apply_plan(project_, spec, records_, plan));
  return to_json(plan);
}

Result<json> ControlService::status() {
  json roles = json::object();
  json gateways = json::array();
  for (const auto& [name, gateway] :
       project_.gateways().ask("status", json::object(), {kKeeperPatience})) {
    roles[name] = gateway.has_value();
    gateways.push_back(gateway ? *gateway : json());
  }
  for (const auto* role : {&project_.replicate(), &project_.agent()})
    roles[role->role()] = role->is_listening();
  TRY(const auto spec, project_.spec());
  json migrations = json::array();
  for (const auto& [name, migration] : spec.migrations) {
    TRY(json one, migration_status({{"name", name}}));
    migrations.push_back({{"name", name},
                          {"state", one["state"]},
                          {"serves", one["serves"]},
                          {"next", one["next"]}});
  }
  return json{{"name", spec.name},
              {"roles", roles},
              {"migrations", migrations},
              {"gateways", gateways},
              {"busy", busy_.load()}};
}

}  // namespace banyan::control
