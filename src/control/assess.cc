#include "control/assess.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "control/assessment.h"
#include "control/code_scan.h"
#include "control/connection_budget.h"
#include "control/django.h"
#include "control/http_probe.h"
#include "control/listeners.h"
#include "spec/value.h"
#include "wire/pg/connection.h"

namespace banyan::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr Duration kProbeTimeout = 2s;
constexpr std::size_t kFindingsMax = 50;  // of one kind; the rest are counted

// ---- code ----

Item item_of(const CodeFinding& finding) {
  Item item{.id = {}, .title = {}, .where = finding.place.text(), .why = {}, .remedy = {}};
  switch (finding.kind) {
    case CodeFinding::Kind::kAbsolutePath:
      item.id = "code.path";
      item.title = "a path is fixed in the code: " + finding.what;
      item.why = "it does not exist, or means another disk, on another machine";
      item.remedy = "take it from the environment";
      break;
    case CodeFinding::Kind::kHost:
      item.id = "code.host";
      item.title = "a host is fixed in the code: " + finding.what;
      item.why = "on another machine it names something else";
      item.remedy = "take it from the environment, and bind or set it in the spec";
      break;
    case CodeFinding::Kind::kLocalWrite:
      item.id = "code.write";
      item.title = "writes a file of the local disk";
      item.why = "other copies do not see it, and it is lost with the copy: " + finding.what;
      item.remedy = "keep it in a bucket or the database, or make sure that it is only a log";
      break;
    case CodeFinding::Kind::kBackgroundWork:
      item.id = "code.background";
      item.title = "starts work in the background: " + finding.what;
      item.why = "every copy would do it";
      item.remedy = "let one copy do it, or make doing it twice harmless";
      break;
  }
  return item;
}

// Hosts in ALLOWED_HOSTS are names to answer to, not addresses to call.
bool is_noise(const CodeFile& file, const CodeFinding& finding) {
  if (finding.kind != CodeFinding::Kind::kHost) return false;
  for (const CodeLine& line : code_lines(file.text)) {
    if (line.number != finding.place.line) continue;
    return line.text.find("ALLOWED_HOSTS") != std::string_view::npos;
  }
  return false;
}

void scan_files(const std::vector<CodeFile>& files, Items& items) {
  std::map<CodeFinding::Kind, std::size_t> seen;
  for (const CodeFile& file : files) {
    for (const CodeFinding& finding : scan_code(file)) {
      if (is_noise(file, finding)) continue;
      if (++seen[finding.kind] <= kFindingsMax) items.add(item_of(finding));
    }
  }
}

json assess_code(const spec::Spec& spec, Items& items) {
  const auto& app = spec.source->app;
  if (!spec.has_app()) return {{"note", "only data moves"}};
  if (app.root.empty()) {
    items.add({"code.root", Severity::kConfig, "the application's code was not looked at",
               "source.app.root", "what ties it to this machine would only show later",
               "name its folder as source.app.root"});
    return {{"recipe", app.recipe}, {"files", 0}};
  }
  const auto files = read_code(app.root);
  if (!files) {
    items.add({"code.root", Severity::kMust, "the application's code cannot be read", app.root,
               files.error().message(), "correct source.app.root, or make it readable"});
    return {{"recipe", app.recipe}, {"files", 0}};
  }
  const auto django = find_django(*files);
  if (django) assess_django(*django, spec, items);
  if (!django && app.recipe == "django") {
    items.add({"django.not_found", Severity::kConfig, "no Django application was found", app.root,
               "no manage.py or wsgi.py there names DJANGO_SETTINGS_MODULE",
               "correct source.app.root, or remove recipe: django"});
  }
  scan_files(*files, items);
  json code = {{"recipe", django ? "django" : "generic"}, {"files", files->size()}};
  if (django) code["settings_module"] = django->settings_module;
  return code;
}

// ---- process ----

// A secret that the running application has and a service would get must be the same one.
void compare_secrets(const spec::Spec& spec, const RunningApp& running, Items& items) {
  for (const auto& [name, service] : spec.services) {
    for (const auto& [variable, ref] : service.env) {
      const auto old = running.environment.find(variable);
      if (!spec::names_a_secret(variable) || old == running.environment.end()) continue;
      const auto value = resolve(spec, ref);
      if (value && *value == old->second) continue;
      items.add({"secret." + variable, Severity::kMust,
                 value ? fmt::format("{} differs between the old side and {}", variable, name)
                       : fmt::format("{} of {} cannot be resolved", variable, name),
                 fmt::format("services.{}.env.{}", name, variable),
                 value ? "sessions, tokens and signatures of one side would be refused by the other"
                       : value.error().message(),
                 value ? "give the services the value of the running application"
                       : value.error().remedy()});
    }
  }
}

void report_other_listeners(const RunningApp& running, const std::string& listen, Items& items) {
  for (const auto& address : running.listens) {
    if (address == listen) continue;
    const auto port = spec::parse_address(listen)->port;
    if (address.ends_with(fmt::format(":{}", port))) continue;
    items.add({"app.listens", Severity::kConfig, "the application also listens on " + address,
               address, "only requests through source.app.listen are moved",
               "check whether anybody uses it"});
  }
}

json assess_process(const spec::Spec& spec, Items& items) {
  const auto& listen = spec.source->app.listen;
  const auto address = spec::parse_address(listen);
  if (!address) return {{"listen", listen}};
  const auto running = find_running(*address);
  if (!running) {
    return {{"listen", listen},
            {"process", nullptr},
            {"note", "the process is not visible to this user"}};
  }
  compare_secrets(spec, *running, items);
  report_other_listeners(*running, listen, items);
  return {
      {"listen", listen},
      {"process", {{"pids", running->pids}, {"command", running->command}, {"cwd", running->cwd}}},
      {"listens", running->listens},
      {"talks_to", running->talks_to}};
}

// ---- health ----

std::vector<std::string> health_paths(const spec::Spec& spec) {
  std::vector<std::string> paths;
  if (spec.source->app.health) paths.push_back(spec.source->app.health->path);
  for (const auto& [name, service] : spec.services) paths.push_back(service.health.path);
  for (const char* common : {"/healthz", "/health", "/up", "/ping", "/status", "/"}) {
    paths.emplace_back(common);
  }
  std::vector<std::string> unique;
  for (auto& path : paths) {
    if (std::ranges::find(unique, path) == unique.end()) unique.push_back(std::move(path));
  }
  return unique;
}

bool is_healthy(int status) {
  return status >= 200 && status < 400;
}

void judge_health(const std::string& listen, const json& answers, Items& items) {
  const bool refused = std::ranges::any_of(
      answers, [](const json& answer) { return answer.value("status", 0) == 400; });
  const bool healthy = std::ranges::any_of(
      answers, [](const json& answer) { return is_healthy(answer.value("status", 0)); });
  if (healthy) return;
  if (refused) {
    items.add({"health.host", Severity::kConfig, "the application refuses the Host header", listen,
               "it answers 400: the host is not among those it serves",
               "set gateway.public_host, or source.app.health.host, to a host it serves"});
    return;
  }
  items.add({"health.endpoint", Severity::kConfig, "no health endpoint was found", listen,
             "without one, a copy counts as ready when it accepts connections",
             "add a path that answers 200 when the database answers, and name it under health"});
}

json assess_health(const spec::Spec& spec, Items& items) {
  const auto& app = spec.source->app;
  const auto address = spec::parse_address(app.listen);
  if (!address) return json::array();
  std::string host = spec.gateway.public_host.value_or(app.listen);
  if (app.health && app.health->host) host = *app.health->host;
  auto answers = json::array();
  for (const auto& path : health_paths(spec)) {
    const auto status = probe({*address, path, host}, kProbeTimeout);
    if (!status) {
      items.add({"app.answers", Severity::kMust, "the application does not answer", app.listen,
                 status.error().message(), "start it, or correct source.app.listen"});
      return answers;
    }
    answers.push_back({{"path", path}, {"host", host}, {"status", *status}});
    if (is_healthy(*status)) break;
  }
  judge_health(app.listen, answers, items);
  return answers;
}

// ---- files ----

struct Tree {
  std::int64_t files = 0;
  std::int64_t bytes = 0;
  std::int64_t links = 0;
  std::int64_t special = 0;
  std::int64_t unreadable = 0;
  std::int64_t largest = 0;
};

void count_entry(const fs::directory_entry& entry, Tree& tree) {
  std::error_code error;
  if (entry.is_symlink(error)) {
    ++tree.links;
  } else if (entry.is_regular_file(error)) {
    const auto bytes = static_cast<std::int64_t>(entry.file_size(error));
    ++tree.files;
    tree.bytes += error ? 0 : bytes;
    tree.largest = std::max(tree.largest, error ? 0 : bytes);
  } else if (!entry.is_directory(error)) {
    ++tree.special;
  }
  if (error) ++tree.unreadable;
}

Result<Tree> count_tree(const std::string& root) {
  Tree tree;
  std::error_code error;
  fs::recursive_directory_iterator walk(root, error);
  if (error) return failure(Code::kNotFound, error.message());
  while (walk != fs::recursive_directory_iterator()) {
    count_entry(*walk, tree);
    walk.increment(error);
    if (!error) continue;
    ++tree.unreadable;  // a folder that cannot be entered ends the walk: say so, do not guess
    break;
  }
  return tree;
}

json assess_file_set(const spec::FileSet& set, Items& items) {
  const auto tree = count_tree(set.path);
  if (!tree) {
    items.add({"files." + set.name, Severity::kMust, "the folder cannot be read", set.path,
               tree.error().message(), "correct source.files, or make it readable"});
    return {{"name", set.name}, {"path", set.path}, {"error", tree.error().message()}};
  }
  if (tree->unreadable > 0) {
    items.add({"files.unreadable", Severity::kMust, "part of the folder cannot be read", set.path,
               "what cannot be read cannot be moved", "run Banyan as a user who may read it"});
  }
  if (tree->links + tree->special > 0) {
    items.add({"files.links", Severity::kConfig,
               fmt::format("{} symbolic links and {} special files", tree->links, tree->special),
               set.path, "a bucket holds only regular files", "replace them by regular files"});
  }
  return {{"name", set.name},         {"path", set.path},
          {"files", tree->files},     {"bytes", tree->bytes},
          {"largest", tree->largest}, {"links", tree->links},
          {"special", tree->special}, {"unreadable", tree->unreadable}};
}

json assess_files(const spec::Spec& spec, Items& items) {
  auto sets = json::array();
  for (const auto& set : spec.source->files) sets.push_back(assess_file_set(set, items));
  return sets;
}

// ---- database ----

constexpr const char* kOutlineSql = R"sql(
SELECT current_setting('server_version'), current_setting('wal_level'),
       pg_catalog.pg_database_size(current_database()), current_setting('max_connections'),
       (SELECT count(*) FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\_%'
           AND n.nspname NOT IN ('information_schema', 'banyan')),
       pg_catalog.to_regclass('public.django_session') IS NOT NULL
)sql";

constexpr const char* kKeylessSql = R"sql(
SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%'
   AND n.nspname NOT IN ('information_schema', 'banyan')
   AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                    WHERE i.indrelid = c.oid AND i.indisprimary)
 ORDER BY 1
)sql";

Result<json> database_outline(const std::string& url) {
  TRY(auto connection, pg::Connection::open(url, {.application_name = "banyan assess"}));
  TRY(const auto outline, connection.query(kOutlineSql));
  TRY(const auto keyless, connection.query(kKeylessSql));
  auto names = json::array();
  for (std::size_t row = 0; row < keyless.size(); ++row) names.push_back(keyless.str(row, 0));
  json database = {
      {"version", outline.str(0, 0)},    {"wal_level", outline.str(0, 1)},
      {"bytes", outline.integer(0, 2)},  {"max_connections", std::atoi(outline.str(0, 3).c_str())},
      {"tables", outline.integer(0, 4)}, {"tables_without_key", std::move(names)}};
  if (outline.boolean(0, 5)) {
    TRY(const auto sessions, connection.query("SELECT count(*) FROM public.django_session"));
    database["django_sessions"] = sessions.integer(0, 0);
  }
  return database;
}

void judge_database(const json& database, Items& items) {
  if (database["wal_level"] != "logical") {
    items.add({"database.wal_level", Severity::kMust, "wal_level is not logical", "source.database",
               "changes cannot be followed while the application runs",
               "ALTER SYSTEM SET wal_level = 'logical', then restart PostgreSQL once"});
  }
  for (const auto& table : database["tables_without_key"]) {
    items.add({"database.no_key", Severity::kOptional,
               fmt::format("{} has no primary key", table.get<std::string>()), table,
               "it is moved all the same, but its updates and deletes are slower to follow",
               "add a primary key, or leave it"});
  }
}

json assess_database(const spec::Spec& spec, Items& items) {
  if (!spec.source->database) return nullptr;
  const auto cannot = [&](const Error& error) -> json {
    items.add({"database.connect", Severity::kMust, "the old database cannot be looked at",
               "source.database", error.message(),
               error.remedy().empty() ? "correct source.database.url" : error.remedy()});
    return {{"error", error.message()}};
  };
  const auto url = resolve(spec, spec.source->database->url);
  if (!url) return cannot(url.error());
  auto database = database_outline(*url);
  if (!database) return cannot(database.error());
  judge_database(*database, items);
  return *std::move(database);
}

// The new databases may not exist yet: what cannot be asked is left to `plan`.
void assess_budget(const spec::Spec& spec, Items& items) {
  for (const auto& [name, database] : spec.databases) {
    const auto url = resolve(spec, database.url);
    if (!url) continue;
    auto connection = pg::Connection::open(*url, {.application_name = "banyan assess"});
    if (!connection) continue;
    const auto allowed = connection->query("SELECT current_setting('max_connections')::int");
    if (allowed)
      check_connection_budget(spec, name, static_cast<int>(allowed->integer(0, 0)), items);
  }
}

}  // namespace

Result<json> assess(const spec::Spec& spec) {
  if (!spec.source) {
    return std::unexpected(Error(Code::kInvalidArgument, "the spec declares no source")
                               .with_remedy("declare what runs today under source"));
  }
  Items items;
  json report;
  report["code"] = assess_code(spec, items);
  report["app"] = assess_process(spec, items);
  report["health"] = assess_health(spec, items);
  report["files"] = assess_files(spec, items);
  report["database"] = assess_database(spec, items);
  assess_budget(spec, items);
  report["items"] = items.to_json();
  report["summary"] = {{"must", items.count(Severity::kMust)},
                       {"config", items.count(Severity::kConfig)},
                       {"optional", items.count(Severity::kOptional)}};
  return report;
}

}  // namespace banyan::control
