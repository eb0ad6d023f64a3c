#include <fmt/format.h>

#include <algorithm>

#include "control/admission.h"
#include "control/database_config.h"
#include "control/gates.h"
#include "control/service.h"

namespace banyan::control {

using migration::Side;
using nlohmann::json;

namespace {

constexpr long kVerifyWaitMs = 600'000;

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
  TRY(const auto record, records_.migration(migration.name));
  if (record.completed || record.is_ending()) {
    TRY_VOID(require_under_way(record, migration.name));
  }
  if (record.created && !record.cancelled) return json();  // under way: this is only a resumption
  const auto accept = in.value("accept", std::set<std::string>());
  TRY(const auto admission, examine(project_, spec, migration, accept));
  TRY_VOID(records_.change(migration.name, [&](MigrationRecord& anew) {
    anew = {};
    anew.adoption = admission.adoption;
    anew.accepted = admission.accepted;
    anew.assessed = admission.is_granted();
  }));
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
  TRY_VOID(records_.change(migration.name, [](MigrationRecord& record) { record.created = true; }));
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
  TRY(const auto record, records_.migration(migration.name));
  TRY_VOID(require_under_way(record, migration.name));
  TRY(json parts, verify_parts(migration, in.value("scope", "all")));
  const auto equal = [](const json& part) { return part.value("state", "") == "equal"; };
  bool all = !parts.contains("database") || equal(parts["database"]);
  for (const auto& [name, part] : parts["files"].items()) all = all && equal(part);
  if (parts.contains("sessions")) all = all && equal(parts["sessions"]);
  TRY_VOID(records_.change(migration.name, [&](MigrationRecord& now) {
    now.verified = parts;
    now.verified_at_ms = all ? to_ms(clock_.wall().time_since_epoch()) : 0;
  }));
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
  TRY(const auto record, records_.migration(migration.name));
  TRY_VOID(require_under_way(record, migration.name));
  json order = in;
  order["wait_ms"] = kVerifyWaitMs;
  TRY(auto out,
      project_.replicate().call("repair", order, std::chrono::milliseconds(kVerifyWaitMs) + 5s));
  if (!in.value("dry_run", false)) {
    // What was verified before says nothing about rows that are written anew.
    TRY_VOID(records_.change(migration.name, [](MigrationRecord& now) { now.verified_at_ms = 0; }));
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

// With the right to change routes: no act begins between the look and the mark.
Result<bool> ControlService::mark_cancelled(const std::string& name) {
  TRY(const auto lock, lock_routes());
  TRY(const auto record, records_.migration(name));
  if (record.side == Side::kNew || record.completed)
    return std::unexpected(Error(Code::kConflict, "the new side serves; nothing to cancel")
                               .with_remedy("banyan migrate reverse " + name));
  if (!record.created) return false;
  TRY_VOID(records_.change(name, [](MigrationRecord& now) {
    now.cancelled = true;
    now.removed = false;
  }));
  return true;
}

Result<void> ControlService::mark_completed(const std::string& name) {
  TRY(const auto lock, lock_routes());
  TRY(const auto record, records_.migration(name));
  if (record.side != Side::kNew)
    return std::unexpected(
        Error(Code::kConflict, "the old side serves").with_remedy("banyan migrate switch " + name));
  TRY_VOID(records_.change(name, [](MigrationRecord& now) {
    now.completed = true;
    now.removed = false;
  }));
  return {};
}

Result<void> ControlService::set_removed(const std::string& name) {
  TRY_VOID(records_.change(name, [](MigrationRecord& record) { record.removed = true; }));
  return {};
}

Result<json> ControlService::cancel(const json& in) {
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  TRY(const bool was_created, mark_cancelled(migration.name));
  TRY(json out, stop_parts(migration, "cancel", "end"));
  if (was_created) TRY_VOID(set_removed(migration.name));
  out["cancelled"] = true;
  return out;
}

Result<json> ControlService::complete(const json& in) {
  TRY(const auto spec, project_.spec());
  TRY(const auto migration, find_migration(spec, name_in(in)));
  if (in.value("typed", "") != migration.name)
    return failure(Code::kPermission, "the typed name is not " + migration.name);
  TRY_VOID(mark_completed(migration.name));
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

}  // namespace banyan::control
