#include "control/service.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/fail_point.h"
#include "base/log.h"
#include "control/admission.h"
#include "control/database_config.h"
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
constexpr long kVerifyWaitMs = 600'000;

std::string name_in(const json& in) {
  return in.at("name").get<std::string>();
}

Result<spec::Migration> find_migration(const spec::Spec& spec, const std::string& name) {
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

std::int64_t epoch_of(const json& gateway) {
  return gateway.value("epoch", std::int64_t{0});
}

json gates_json(const std::vector<migration::Gate>& gates) {
  json out = json::array();
  for (const auto& gate : gates)
    out.push_back({{"name", gate.name}, {"green", gate.green}, {"seen", gate.seen}});
  return out;
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

long compared(const json& verified, const char* part, const char* what) {
  return verified.is_object() && verified.contains(part) ? verified[part].value(what, 0L) : 0;
}

long files_compared(const json& verified) {
  long files = 0;
  if (verified.is_object())
    for (const auto& [name, part] : verified.value("files", json::object()).items())
      files += part.value("files", 0L);
  return files;
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

// What ends a migration whose cancel or complete was begun.
std::string ending_command(const MigrationRecord& record, const std::string& name) {
  if (record.cancelled) return "banyan migrate cancel " + name;
  return "banyan migrate complete " + name + " --confirm " + name;
}

Result<void> require_under_way(const MigrationRecord& record, const std::string& name) {
  if (record.is_under_way()) return {};
  const auto refuse = [&](const std::string& why, const std::string& way) {
    return std::unexpected(Error(Code::kConflict, name + " " + why).with_remedy(way));
  };
  if (record.is_ending()) return refuse("is being ended", ending_command(record, name));
  if (record.completed) return refuse("is completed", "banyan migrate report " + name);
  return refuse(record.cancelled ? "is cancelled" : "was not created",
                "banyan migrate create " + name);
}

// Of a failed database: the first of the ways out that it names.
std::string next_of_blocked(const json& database, const std::string& name) {
  const std::string remedy = database.value("remedy", "");
  for (const char* verb : {"repair", "cancel"}) {
    const std::string way = fmt::format("banyan migrate {} {}", verb, name);
    if (remedy.contains(way)) return way;
  }
  return "banyan migrate create " + name;
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
  if (record && record->created && !record->cancelled && !record->completed)
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

Result<json> ControlService::cut_over(const json& in) {
  TRY_VOID(refuse_while_busy());
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
  if (busy_.exchange(true)) return std::unexpected(busy());
  auto attempt = new_attempt(migration.name, to);
  if (!attempt) {
    busy_ = false;
    return std::unexpected(attempt.error());
  }
  if (conductor_.joinable()) conductor_.join();
  conductor_ = std::jthread([this, spec, a = *attempt] { run_attempt(spec, a); });
  return json{{"act_id", attempt->act_id}, {"gates", gates_json(gates)}};
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
  TRY_VOID(refuse_while_busy());
  const std::lock_guard lock(change_);
  TRY(const auto spec, project_.spec());
  TRY(const auto plan, make_plan(project_, spec, records_));
  const std::string expected = in.value("hash", plan.hash);
  if (expected != plan.hash)
    return std::unexpected(Error(Code::kConflict, "the world changed since the plan was made")
                               .with_remedy("banyan plan"));
  TRY_VOID(apply_plan(project_, spec, records_, plan));
  return to_json(plan);
}

// ---- migrations

Result<void> ControlService::start_files(const spec::Spec& spec, const spec::Migration& migration) {
  for (const auto& move : migration.files) {
    const auto& bucket = spec.buckets.at(move.bucket);
    const auto set = std::ranges::find(spec.source->files, move.files, &spec::FileSet::name);
    TRY(const auto keys, bucket_keys(project_, spec, bucket));
    TRY_VOID(project_.agent().call("files.start", {{"name", move.files},
                                                   {"path", set->path},
                                                   {"endpoint", bucket.endpoint},
                                                   {"bucket", bucket.bucket},
                                                   {"prefix", move.prefix},
                                                   {"region", bucket.region},
                                                   {"access_key", keys.access_key},
                                                   {"secret_key", keys.secret_key}}));
  }
  return {};
}

Result<void> ControlService::start_sessions(const spec::Spec& spec,
                                            const spec::Migration& migration) {
  if (!migration.sessions) return {};
  const auto& move = *migration.sessions;
  TRY(const auto database, spec::resolve(spec, spec.source->database->url));
  TRY(const auto redis, spec::resolve(spec, spec.redis.at(move.redis).url));
  json config = {{"name", migration.name}, {"kind", move.kind}, {"database", database},
                 {"redis", redis},         {"mode", move.mode}, {"key_prefix", move.key_prefix}};
  if (const auto& key = spec.source->sessions->secret_key) {
    TRY(config["secret_key"], spec::resolve(spec, *key));
  }
  TRY_VOID(project_.agent().call("sessions.start", config));
  return {};
}

Result<void> ControlService::start_parts(const spec::Spec& spec, const spec::Migration& migration) {
  if (migration.database) {
    TRY(const json config, database_config(spec, migration));
    TRY_VOID(project_.replicate().call_patiently(
        "start", {{"name", migration.name}, {"config", config}}, 10s));
  }
  TRY_VOID(start_files(spec, migration));
  return start_sessions(spec, migration);
}

// The answer when it is refused, null when not; what was found and accepted is recorded.
Result<json> ControlService::admit(const spec::Spec& spec, const spec::Migration& migration,
                                   const json& in) {
  TRY(auto record, records_.migration(migration.name));
  if (record.completed || record.is_ending()) {
    TRY_VOID(require_under_way(record, migration.name));
  }
  if (record.created && !record.cancelled) return json();  // under way: this is only a resumption
  const auto accept = in.value("accept", std::set<std::string>());
  TRY(const auto admission, examine(project_, spec, migration, accept));
  record = {};
  record.adoption = admission.adoption;
  record.accepted = admission.accepted;
  record.assessed = admission.is_granted();
  TRY_VOID(records_.put(migration.name, record));
  if (admission.is_granted()) return json();
  return json{{"name", migration.name},
              {"refused", true},
              {"open", admission.open},
              {"accepted", admission.accepted},
              {"adoption", admission.adoption}};
}

Result<json> ControlService::create_migration(const json& in) {
  TRY_VOID(refuse_while_busy());
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  TRY(const auto applied, records_.applied());
  if (applied.empty())
    return std::unexpected(
        Error(Code::kConflict, "nothing was applied yet").with_remedy("banyan apply"));
  TRY(json refused, admit(spec, migration, in));
  if (!refused.is_null()) return refused;
  TRY(auto record, records_.migration(migration.name));
  record.created = true;
  TRY_VOID(records_.put(migration.name, record));
  TRY_VOID(start_parts(spec, migration));
  return migration_status(in);
}

Result<json> ControlService::migration_status(const json& in) {
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  TRY(const auto record, records_.migration(migration.name));
  const Sight sight = look(project_, migration);
  auto parts = parts_of(sight, record, clock_.wall());
  parts.act_running = busy_;
  const Side to = migration::other(record.side);
  const auto gates = gates_for(spec, migration, sight, record, to, clock_.wall());
  const auto state = migration::state_of(parts, gates);
  auto next = migration::next_command(state, migration.name);
  if (state == migration::State::kBlocked) {
    next = record.is_ending() ? ending_command(record, migration.name)
                              : next_of_blocked(sight.database, migration.name);
  }
  json files = json::object();
  for (const auto& [name, report] : sight.files) files[name] = report;
  return json{{"name", migration.name},
              {"state", migration::state_name(state)},
              {"serves", side_name(record.side)},
              {"created", record.created},
              {"gates", gates_json(gates)},
              {"database", sight.database},
              {"files", files},
              {"sessions", sight.sessions},
              {"verified", record.verified},
              {"rows_compared", compared(record.verified, "database", "rows")},
              {"files_compared", files_compared(record.verified)},
              {"adoption", record.adoption},
              {"accepted", record.accepted},
              {"sessions_compared", compared(record.verified, "sessions", "sessions")},
              {"next", next}};
}

Result<json> ControlService::verify_parts(const spec::Migration& migration,
                                          const std::string& scope) {
  const Duration patience = std::chrono::milliseconds(kVerifyWaitMs) + 5s;
  const auto ask = [&](const rpc::Client& role, const std::string& verb, const std::string& name) {
    return role.call(verb, {{"name", name}, {"wait_ms", kVerifyWaitMs}, {"scope", scope}},
                     patience);
  };
  json out = {{"files", json::object()}};
  if (migration.database) {
    TRY(out["database"], ask(project_.replicate(), "verify", migration.name));
  }
  for (const auto& move : migration.files) {
    TRY(out["files"][move.files], ask(project_.agent(), "files.verify", move.files));
  }
  if (migration.sessions) {
    TRY(out["sessions"], ask(project_.agent(), "sessions.verify", migration.name));
  }
  return out;
}

Result<json> ControlService::verify(const json& in) {
  TRY_VOID(refuse_while_busy());
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  TRY(auto record, records_.migration(migration.name));
  TRY_VOID(require_under_way(record, migration.name));
  TRY(json parts, verify_parts(migration, in.value("scope", "all")));
  const auto equal = [](const json& part) { return part.value("state", "") == "equal"; };
  bool all = !parts.contains("database") || equal(parts["database"]);
  for (const auto& [name, part] : parts["files"].items()) all = all && equal(part);
  if (parts.contains("sessions")) all = all && equal(parts["sessions"]);
  TRY(record, records_.migration(migration.name));  // an act may have ended meanwhile
  record.verified = parts;
  record.verified_at_ms = all ? to_ms(clock_.wall().time_since_epoch()) : 0;
  TRY_VOID(records_.put(migration.name, record));
  parts["equal"] = all;
  TRY(const json now, migration_status(in));
  parts["next"] = now["next"];
  return parts;
}

// Of a migration that runs; nothing is remembered, a new start has the spec's limits again.
Result<json> ControlService::throttle(const json& in) {
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  TRY(const auto record, records_.migration(migration.name));
  TRY_VOID(require_under_way(record, migration.name));
  return project_.replicate().call("throttle", in, 10s);
}

// Needs no migration that runs, only its tables.
Result<json> ControlService::plan_split(const json& in) {
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  if (!migration.database || migration.database->tables.empty()) {
    return std::unexpected(
        Error(Code::kInvalidArgument, "migration " + migration.name + " moves no list of tables")
            .with_remedy("List the service's tables under move.database.tables."));
  }
  return ask_split_plan(project_, spec, migration, {{"role", in.value("role", "")}});
}

// Only of the database: files and sessions repair themselves as they follow.
Result<json> ControlService::repair(const json& in) {
  TRY_VOID(refuse_while_busy());
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  if (!migration.database) {
    return failure(Code::kInvalidArgument, "migration " + migration.name + " moves no database");
  }
  TRY(auto record, records_.migration(migration.name));
  TRY_VOID(require_under_way(record, migration.name));
  json order = in;
  order["wait_ms"] = kVerifyWaitMs;
  TRY(auto out,
      project_.replicate().call("repair", order, std::chrono::milliseconds(kVerifyWaitMs) + 5s));
  if (!in.value("dry_run", false)) {
    // What was verified before says nothing about rows that are written anew.
    TRY(record, records_.migration(migration.name));
    record.verified_at_ms = 0;
    TRY_VOID(records_.put(migration.name, record));
  }
  return out;
}

// What the parts answered: {database?, files: {name: ..}}.
Result<json> ControlService::stop_parts(const spec::Migration& migration, const std::string& verb,
                                        const std::string& copies) {
  const json named = {{"name", migration.name}};
  json out = {{"files", json::object()}};
  if (migration.database) {
    json asked = named;
    asked["copies"] = copies;
    TRY(out["database"], project_.replicate().call(verb, asked, 60s));
  }
  for (const auto& move : migration.files) {
    const json files = {{"name", move.files}};
    if (verb == "cancel") {
      TRY(out["files"][move.files], discard_files(files));
    }
    TRY_VOID(project_.agent().call("files.stop", files));
  }
  if (migration.sessions) TRY_VOID(project_.agent().call("sessions.stop", named));
  return out;
}

// Asked again while objects are left: removing many takes long.
Result<json> ControlService::discard_files(const json& named) {
  long removed = 0;
  while (true) {
    TRY(json report, project_.agent().call("files.discard", named, 60s));
    removed += report.value("removed", 0L);
    report["removed"] = removed;
    if (report.value("done", true)) return report;
  }
}

Result<json> ControlService::cancel(const json& in) {
  TRY_VOID(refuse_while_busy());
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  TRY(auto record, records_.migration(migration.name));
  if (record.side == Side::kNew || record.completed)
    return std::unexpected(Error(Code::kConflict, "the new side serves; nothing to cancel")
                               .with_remedy("banyan migrate reverse " + migration.name));
  const bool was_created = record.created;
  if (was_created) {
    record.cancelled = true;
    record.removed = false;
    TRY_VOID(records_.put(migration.name, record));
  }
  TRY(json out, stop_parts(migration, "cancel", "end"));
  if (was_created) TRY_VOID(set_removed(migration.name));
  out["cancelled"] = true;
  return out;
}

Result<void> ControlService::set_removed(const std::string& name) {
  TRY(auto record, records_.migration(name));
  record.removed = true;
  return records_.put(name, record);
}

Result<json> ControlService::complete(const json& in) {
  TRY_VOID(refuse_while_busy());
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  if (in.value("typed", "") != migration.name)
    return failure(Code::kPermission, "the typed name is not " + migration.name);
  TRY(auto record, records_.migration(migration.name));
  if (record.side != Side::kNew)
    return std::unexpected(Error(Code::kConflict, "the old side serves")
                               .with_remedy("banyan migrate switch " + migration.name));
  record.completed = true;
  record.removed = false;
  TRY_VOID(records_.put(migration.name, record));
  TRY(const json parts, stop_parts(migration, "complete", in.value("copies", "keep")));
  TRY_VOID(set_removed(migration.name));
  const json copies = parts.value("database", json::object()).value("copies", json::array());
  return json{{"completed", true}, {"copies", copies}};
}

Result<json> ControlService::report(const json& in) {
  TRY(json out, migration_status(in));
  TRY(const json events, this->events(in));
  out["events"] = events["events"];
  return out;
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
