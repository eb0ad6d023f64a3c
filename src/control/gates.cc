#include "control/gates.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::control {

using migration::Gate;
using migration::Parts;
using migration::Side;
using nlohmann::json;

namespace {

constexpr long kLagMaxMs = 2000;
constexpr long kDirtyAgeMaxMs = 5000;
constexpr long kDirtyMax = 100;
constexpr Duration kVerifiedFor = 1h;
constexpr Duration kWriterFor = 1h;
constexpr int kTablesTold = 10;

constexpr Duration kPatience = 3s;

json report_of(const Result<json>& answer) {
  return answer ? *answer : json{{"error", answer.error().message()}};
}

json ask(const rpc::Client& role, const std::string& verb, const json& in) {
  return report_of(role.call(verb, in, kPatience));
}

bool has_error(const json& report) {
  return report.contains("error") && !report["error"].is_null();
}

std::string error_text(const json& report) {
  return report["error"].is_string() ? report["error"].get<std::string>() : report["error"].dump();
}

bool is_following(const json& database) {
  return database.value("state", "") == "following";
}
bool is_fresh(const MigrationRecord& record, Wall now) {
  const auto age = now.time_since_epoch() - std::chrono::milliseconds(record.verified_at_ms);
  return record.verified_at_ms > 0 && age < kVerifiedFor;
}

Gate database_gate(const json& database) {
  if (has_error(database)) return {"database", false, error_text(database)};
  const long lag = database.value("lag_ms", -1L);
  // The stream that a switch, in either direction, relies on: the one out of the active side.
  const json stream = database.value("stream", json::object());
  const bool is_running = stream.value("running", false);
  const bool green = is_following(database) && is_running && lag >= 0 && lag <= kLagMaxMs;
  return {"database", green,
          fmt::format("{}, lag {} ms{}", database.value("state", "?"), lag,
                      is_running ? "" : ", its stream is " + stream.value("state", "not there"))};
}

// The kind of each writer: its origin, or "named" for a stranger that the spec knows.
void tell_kinds(json& database, const std::vector<std::string>& known) {
  if (!database.contains("writers")) return;
  for (json& writer : database["writers"]) {
    const auto is_it = [&](const std::string& name) {
      return name == writer.value("application", "") || name == writer.value("role", "") ||
             name == writer.value("address", "");
    };
    const std::string origin = writer.value("origin", "stranger");
    const bool is_named = origin == "stranger" && std::ranges::any_of(known, is_it);
    writer["kind"] = is_named ? "named" : origin;
  }
}

std::string writer_text(const json& writer) {
  const std::string application = writer.value("application", "");
  const std::string name = application.empty() ? writer.value("program", "") : application;
  return fmt::format("{} {} ({}@{}, {} times)", writer.value("kind", ""),
                     name.empty() ? "without a name" : name, writer.value("role", ""),
                     writer.value("address", ""), writer.value("seen", 0L));
}

// Who was seen writing to the moved tables. Red when the spec names the writers and a stranger
// wrote lately: a forgotten job does not pass the gateway, and would be refused after the switch.
Gate writers_gate(const json& database, bool are_named, Wall now) {
  const json writers = database.value("writers", json::array());
  std::string strangers;
  for (const json& writer : writers) {
    const auto age = to_ms(now.time_since_epoch()) - writer.value("last_seen_ms", 0L);
    if (writer.value("kind", "") != "stranger" || age > to_ms(kWriterFor)) continue;
    strangers += (strangers.empty() ? "" : ", ") + writer_text(writer);
  }
  if (strangers.empty())
    return {"writers", true, fmt::format("{} seen, no stranger lately", writers.size())};
  if (are_named) return {"writers", false, "not in the spec's writers: " + strangers};
  return {"writers", true, "warning, would be refused after the act: " + strangers};
}

// What the proof does not hold is compared after the act, so it does not hold the act back.
Gate proof_gate(const json& database) {
  const json proven = database.value("proven", json::object());
  const long rows = proven.value("rows", 0L);
  const long unproven = proven.value("unproven_rows", 0L);
  if (unproven == 0) return {"proof", true, fmt::format("{} rows proven equal", rows)};
  std::string tables;
  int told = 0;
  for (const json& table : proven.value("tables", json::array())) {
    const long left = table.value("unproven_rows", 0L);
    if (left == 0) continue;
    if (++told > kTablesTold) continue;
    tables += fmt::format("{}{} {}", tables.empty() ? "" : ", ", table.value("table", ""), left);
  }
  if (told > kTablesTold) tables += fmt::format(" and {} tables more", told - kTablesTold);
  return {"proof", true,
          fmt::format("{} of {} rows proven equal; compared after the act: {}", rows - unproven,
                      rows, tables)};
}

// Following: nothing is behind, or only what was written a moment ago is on its way.
bool files_follow(const json& files) {
  const std::string state = files.value("state", "");
  if (state == "watching") return files.value("oldest_dirty_ms", 0L) <= kDirtyAgeMaxMs;
  return state == "uploading" && files.value("dirty", 0L) <= kDirtyMax &&
         files.value("files_done", 0L) > 0 && files.value("oldest_dirty_ms", 0L) <= kDirtyAgeMaxMs;
}

Gate files_gate(const std::string& name, const json& files) {
  if (has_error(files)) return {"files " + name, false, error_text(files)};
  return {"files " + name, files_follow(files),
          fmt::format("{}, {} behind", files.value("state", "?"), files.value("dirty", 0L))};
}

Gate sessions_gate(const json& sessions) {
  if (has_error(sessions)) return {"sessions", false, error_text(sessions)};
  const long known = sessions.value("sessions", 0L);
  const long carried = sessions.value("carried", 0L);
  return {"sessions", true, fmt::format("{} of {} carried", carried, known)};
}

Gate service_gate(const spec::Service& service, const json& fleet) {
  const json services = fleet.value("services", json::array());
  const auto found = std::ranges::find_if(
      services, [&](const json& s) { return s.value("name", "") == service.name; });
  const int ready = found == services.end() ? 0 : found->value("ready", 0);
  return {"service " + service.name, ready >= service.instances.min,
          fmt::format("{} of {} instances ready", ready, service.instances.min)};
}

bool serves(const json& gateway, const std::string& backend) {
  for (const json& known : gateway.value("backends", json::array()))
    if (known.value("name", "") == backend)
      for (const json& endpoint : known.value("endpoints", json::array()))
        if (endpoint.value("healthy", false)) return true;
  return false;
}

// Every gateway must lead there: each is needed for a switch.
Gate backend_gate(const Sight& sight, const std::string& backend) {
  for (const auto& [name, gateway] : sight.gateways) {
    if (has_error(gateway)) return {name, false, error_text(gateway)};
    if (!serves(gateway, backend)) return {name + " to " + backend, false, "no healthy endpoint"};
  }
  return {"gateway to " + backend, true, "healthy"};
}

void add_new_side(const spec::Spec& spec, const spec::Migration& migration, const Sight& sight,
                  std::vector<Gate>& gates) {
  for (const auto& [name, service] : spec.services) {
    const bool moved = std::ranges::any_of(spec.routes, [&](const spec::Route& route) {
      const bool is_weighted = std::ranges::find(route.rules.weights, name, &spec::Weight::to) !=
                               route.rules.weights.end();
      return (route.to == name || is_weighted) &&
             std::ranges::find(migration.routes, route.id) != migration.routes.end();
    });
    if (!moved) continue;
    if (!service.is_external()) gates.push_back(service_gate(service, sight.fleet));
    gates.push_back(backend_gate(sight, name));
  }
}

Gate verified_gate(const MigrationRecord& record, Wall now) {
  const bool green = is_fresh(record, now);
  return {"verified", green,
          green                       ? "within the last hour"
          : record.verified_at_ms > 0 ? "more than an hour ago"
                                      : "not yet"};
}

}  // namespace

Sight look(const Project& project, const spec::Migration& migration) {
  Sight sight;
  const json name = {{"name", migration.name}};
  for (const auto& [gateway, status] :
       project.gateways().ask("status", json::object(), {kPatience}))
    sight.gateways.emplace_back(gateway, report_of(status));
  sight.database = ask(project.replicate(), "status", name);
  if (migration.database) tell_kinds(sight.database, migration.database->writers);
  sight.fleet = ask(project.agent(), "fleet.status", json::object());
  if (migration.sessions) sight.sessions = ask(project.agent(), "sessions.status", name);
  for (const auto& move : migration.files)
    sight.files.emplace_back(move.files,
                             ask(project.agent(), "files.status", {{"name", move.files}}));
  return sight;
}

std::vector<Gate> gates_for(const spec::Spec& spec, const spec::Migration& migration,
                            const Sight& sight, const MigrationRecord& record, Side to, Wall now) {
  std::vector<Gate> gates = {database_gate(sight.database)};
  if (migration.database && !has_error(sight.database))
    gates.push_back(writers_gate(sight.database, !migration.database->writers.empty(), now));
  if (sight.database.contains("proven")) gates.push_back(proof_gate(sight.database));
  for (const auto& [name, files] : sight.files) gates.push_back(files_gate(name, files));
  if (migration.sessions) gates.push_back(sessions_gate(sight.sessions));
  if (to == Side::kOld) {
    if (spec.has_app()) gates.push_back(backend_gate(sight, "source"));
    return gates;
  }
  gates.push_back(verified_gate(record, now));
  add_new_side(spec, migration, sight, gates);
  return gates;
}

Parts parts_of(const Sight& sight, const MigrationRecord& record, Wall now) {
  const std::string data = sight.database.value("state", "");
  const bool files_are_there =
      std::ranges::all_of(sight.files, [](const auto& f) { return files_follow(f.second); });
  Parts parts;
  const bool is_ending = record.is_ending();
  parts.cancelled = record.cancelled && !is_ending;
  parts.completed = record.completed && !is_ending;
  parts.assessed = record.assessed;
  parts.adopted = record.assessed && std::ranges::any_of(sight.gateways, [](const auto& one) {
                    return one.second.value("epoch", 0L) > 0;
                  });
  parts.following = is_following(sight.database) && files_are_there;
  parts.copying = record.created && !parts.following && data != "failed";
  parts.verified = is_fresh(record, now) && parts.following;
  parts.new_side_active = record.side == Side::kNew;
  parts.ever_switched = record.ever_switched;
  parts.blocked =
      is_ending || data == "failed" || std::ranges::any_of(sight.files, [](const auto& f) {
        return f.second.value("state", "") == "failed";
      });
  return parts;
}

json gates_json(const std::vector<migration::Gate>& gates) {
  json out = json::array();
  for (const auto& gate : gates)
    out.push_back({{"name", gate.name}, {"green", gate.green}, {"seen", gate.seen}});
  return out;
}

}  // namespace banyan::control
