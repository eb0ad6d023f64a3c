#include "planes/replication/schema.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "base/guarded.h"
#include "base/log.h"

extern char** environ;

namespace banyan::replication {
namespace {

namespace fs = std::filesystem;

// The section of a split that holds types and routines; taken from pre-data.
const std::string kTypes = "types";

constexpr std::string_view kHeader = "-- Name: ";

// The value of `field` in "-- Name: t; Type: TABLE; Schema: public; Owner: -".
std::string header_field(std::string_view line, std::string_view field) {
  const auto start = line.rfind(field);
  if (start == std::string_view::npos) return "";
  const auto from = start + field.size();
  const auto end = line.find("; ", from);
  return std::string(line.substr(from, end == std::string_view::npos ? end : end - from));
}

bool is_header(std::string_view line) {
  return line.starts_with(kHeader) && line.contains("; Type: ") && line.contains("; Schema: ");
}

bool is_psql_command(std::string_view line) {
  return line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
}

SchemaItem item_of(std::string_view line) {
  SchemaItem item;
  const auto type_at = line.rfind("; Type: ");
  item.name = std::string(line.substr(kHeader.size(), type_at - kHeader.size()));
  item.type = header_field(line, "; Type: ");
  item.schema = header_field(line, "; Schema: ");
  return item;
}

struct Finished {
  int status = 0;
  std::string output;  // standard output and error
};

// Runs a program to its end. `settings` are NAME=value pairs added to its environment.
Result<Finished> run_program(const std::vector<std::string>& command,
                             const std::vector<std::string>& settings) {
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; entry++) environment.push_back(*entry);
  for (const auto& entry : settings) environment.push_back(const_cast<char*>(entry.c_str()));
  environment.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return failure(Code::kInternal, "no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t pid = 0;
  const int spawned = posix_spawn(&pid, command[0].c_str(), &actions, nullptr, arguments.data(),
                                  environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Finished finished;
  char buffer[4096];
  for (ssize_t got; spawned == 0 && (got = read(ends[0], buffer, sizeof buffer)) > 0;) {
    finished.output.append(buffer, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  if (spawned != 0) return failure(Code::kNotFound, "cannot run " + command[0]);
  while (waitpid(pid, &finished.status, 0) < 0 && errno == EINTR) {
  }
  return finished;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at++) {
    if (text[at] == '%' && at + 2 < text.size()) {
      out += static_cast<char>(std::stoi(std::string(text.substr(at + 1, 2)), nullptr, 16));
      at += 2;
    } else {
      out += text[at];
    }
  }
  return out;
}

// Moves the password of a URL into the environment: arguments are readable by everyone on a
// machine.
std::string take_password(std::string url, std::vector<std::string>& settings) {
  const auto scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const auto authority = scheme + 3;
  const auto at = url.rfind('@', url.find('/', authority));
  const auto colon = url.find(':', authority);
  if (at == std::string::npos || at < authority || colon >= at) return url;
  settings.push_back("PGPASSWORD=" + percent_decoded(url.substr(colon + 1, at - colon - 1)));
  return url.erase(colon, at - colon);
}

int major_of(const std::string& pg_dump) {
  auto asked = run_program({pg_dump, "--version"}, {});
  if (!asked || asked->status != 0) return 0;
  const auto digit = asked->output.find_first_of("0123456789");
  return digit == std::string::npos ? 0 : std::atoi(asked->output.c_str() + digit);
}

std::vector<std::string> pg_dump_candidates() {
  std::vector<std::string> found;
  const auto add = [&](const fs::path& directory) {
    std::error_code ignored;
    if (fs::exists(directory / "pg_dump", ignored))
      found.push_back((directory / "pg_dump").string());
  };
  if (const char* chosen = std::getenv("BANYAN_PG_BIN")) add(chosen);
  std::error_code absent;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", absent)) {
    add(version.path() / "bin");
  }
  std::istringstream path(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "");
  for (std::string directory; std::getline(path, directory, ':');) add(directory);
  return found;
}

// "alter table X validate constraint Y" for an item that adds foreign key Y to X.
std::string validation_of(const SchemaItem& item) {
  const auto table_at = item.sql.find("ALTER TABLE ");
  const auto add_at = item.sql.find("ADD CONSTRAINT ");
  const auto key_at = item.sql.find(" FOREIGN KEY ");
  if (key_at == std::string::npos || add_at > key_at || table_at > add_at) return "";
  auto table = item.sql.substr(table_at + 12, add_at - table_at - 12);
  if (table.starts_with("ONLY ")) table.erase(0, 5);
  const auto constraint = item.sql.substr(add_at + 15, key_at - add_at - 15);
  return fmt::format("alter table {} validate constraint {}", table, constraint);
}

std::string not_valid(std::string sql) {
  const auto end = sql.rfind(';');
  if (end != std::string::npos && !sql.contains("NOT VALID")) sql.insert(end, " NOT VALID");
  return sql;
}

// The dump creates them empty; those that build on others come later in creation order.
Result<void> refresh_materialized_views(pg::Connection& target) {
  TRY(const auto views, target.query("select oid::pg_catalog.regclass from pg_catalog.pg_class "
                                     "where relkind = 'm' and not relispopulated order by oid"));
  for (std::size_t row = 0; row < views.size(); row++) {
    TRY_VOID(target.exec("refresh materialized view " + views.str(row, 0)));
  }
  return {};
}

bool is_index_phase(const SchemaItem& item) {
  return item.type == "CONSTRAINT" || item.type == "INDEX" || item.type == "STATISTICS";
}

// What a table's definition may use and a dump of single tables leaves out.
bool is_needed_by_tables(const SchemaItem& item) {
  static const std::set<std::string_view> kKinds = {
      "SCHEMA",         "EXTENSION",       "TYPE",      "SHELL TYPE", "DOMAIN",
      "COLLATION",      "FUNCTION",        "PROCEDURE", "AGGREGATE",  "OPERATOR",
      "OPERATOR CLASS", "OPERATOR FAMILY", "CAST"};
  const bool exists_anyway = item.type == "SCHEMA" && item.name == "public";
  return kKinds.contains(item.type) && !exists_anyway;
}

bool is_foreign_key(const SchemaItem& item) {
  return item.type == "FK CONSTRAINT";
}

std::vector<SchemaItem> only(std::vector<SchemaItem> items, auto&& wanted) {
  std::erase_if(items, [&](const SchemaItem& item) { return !wanted(item); });
  return items;
}

}  // namespace

std::vector<SchemaItem> split_dump(std::string_view dump) {
  std::vector<SchemaItem> items{{"", "SETTINGS", "", ""}};
  while (!dump.empty()) {
    const auto end = dump.find('\n');
    const auto line = dump.substr(0, end);
    dump.remove_prefix(end == std::string_view::npos ? dump.size() : end + 1);
    if (is_psql_command(line)) continue;
    if (is_header(line)) {
      items.push_back(item_of(line));
    } else {
      items.back().sql.append(line).append("\n");
    }
  }
  return items;
}

bool is_key(const SchemaItem& item) {
  const bool primary = item.type == "CONSTRAINT" && item.sql.contains(" PRIMARY KEY (");
  return primary || (is_index_phase(item) && item.sql.contains(" REPLICA IDENTITY USING INDEX "));
}

Result<std::string> find_pg_dump(int server_major) {
  std::string best;
  int best_major = 0;
  for (const auto& candidate : pg_dump_candidates()) {
    const int major = major_of(candidate);
    if (major > best_major) {
      best = candidate;
      best_major = major;
    }
  }
  if (best_major >= server_major) return best;
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("the newest pg_dump here is {} and the source is {}",
                                         best_major, server_major))
          .with_remedy(
              fmt::format("Install postgresql-client-{} or set BANYAN_PG_BIN to the folder "
                          "of its pg_dump.",
                          server_major)));
}

std::string SchemaCopy::path(const std::string& section) const {
  return options_.directory + "/" + section + ".sql";
}

Result<bool> SchemaCopy::can_keep_roles(pg::Connection& source) const {
  TRY(auto target, open_target());
  if (target.parameter("is_superuser") != "on") return false;
  TRY(const auto used,
      source.query(
          "select distinct r.rolname from pg_shdepend d join pg_roles r on r.oid = d.refobjid "
          "where d.refclassid = 'pg_authid'::regclass and d.dbid = "
          "(select oid from pg_database where datname = current_database())"));
  for (std::size_t row = 0; row < used.size(); row++) {
    TRY(const auto there,
        target.query("select 1 from pg_roles where rolname = $1", {used.param(row, 0)}));
    if (there.empty()) return false;
  }
  return true;
}

Result<std::vector<std::string>> SchemaCopy::dump_arguments(pg::Connection& source,
                                                            Objects which) const {
  std::vector<std::string> arguments = {"--schema-only",     "--exclude-schema=banyan",
                                        "--no-publications", "--no-subscriptions",
                                        "--no-tablespaces",  "--no-security-labels",
                                        "--encoding=UTF8",   "--lock-wait-timeout=30000"};
  TRY(const bool keep_roles, can_keep_roles(source));
  if (!keep_roles) {
    arguments.push_back("--no-owner");
    arguments.push_back("--no-acl");
  }
  TRY(const auto tables, fenced_tables(source, options_.tables));
  for (const auto& table : tables) {
    if (which == Objects::kListedTables) arguments.push_back("--table=" + table.qualified);
  }
  return arguments;
}

Result<void> SchemaCopy::dump_section(const std::string& tool, const std::string& section,
                                      const std::string& snapshot) const {
  if (fs::exists(path(section))) return {};
  TRY(auto source, pg::Connection::open(options_.source_url));
  const bool whole = section == kTypes || options_.tables.empty();
  TRY(auto command, dump_arguments(source, whole ? Objects::kAll : Objects::kListedTables));
  std::vector<std::string> settings;
  command.insert(command.begin(), tool);
  command.push_back("--section=" + (section == kTypes ? "pre-data" : section));
  command.push_back("--file=" + path(section) + ".part");
  if (!snapshot.empty()) command.push_back("--snapshot=" + snapshot);
  command.push_back("--dbname=" + take_password(options_.source_url, settings));
  TRY(const auto finished, run_program(command, settings));
  if (finished.status != 0) return failure(Code::kInternal, "pg_dump: " + finished.output);
  std::error_code trouble;
  fs::rename(path(section) + ".part", path(section), trouble);
  if (trouble) return failure(Code::kInternal, trouble.message());
  return {};
}

Result<void> SchemaCopy::dump(const std::string& snapshot) {
  std::error_code trouble;
  fs::create_directories(options_.directory, trouble);
  TRY(auto source, pg::Connection::open(options_.source_url));
  TRY(const auto tool, find_pg_dump(source.server_version() / 10000));
  if (!options_.tables.empty()) {
    TRY_VOID(with_context(dump_section(tool, kTypes, snapshot), "reading the types"));
  }
  TRY_VOID(with_context(dump_section(tool, "pre-data", snapshot), "reading the schema"));
  return with_context(dump_section(tool, "post-data", snapshot), "reading the schema");
}

Result<std::vector<SchemaItem>> SchemaCopy::load(const std::string& section) const {
  std::ifstream file(path(section), std::ios::binary);
  if (!file) return failure(Code::kNotFound, "no schema dump at " + path(section));
  std::ostringstream text;
  text << file.rdbuf();
  auto items = split_dump(text.str());
  std::erase_if(items, [](const SchemaItem& item) {
    const bool own_trigger = item.type == "TRIGGER" && item.name.ends_with(" banyan_fence");
    const bool own_comment =
        item.type == "COMMENT" && item.schema == "-" && item.name == "SCHEMA public";
    return own_trigger || own_comment;
  });
  return items;
}

Result<pg::Connection> SchemaCopy::open_target() const {
  TRY(auto target, pg::Connection::open(options_.target_url));
  TRY_VOID(target.exec(
      "set client_min_messages = warning; create table if not exists banyan.schema_item("
      "migration text, item text, primary key (migration, item)); set check_function_bodies = off; "
      "set maintenance_work_mem = '256MB'; set default_table_access_method = heap"));
  return target;
}

Result<void> SchemaCopy::restore_item(pg::Connection& target, const SchemaItem& item) const {
  const auto mark = item.type + " " + item.schema + "." + item.name;
  TRY(const auto done,
      target.query("select 1 from banyan.schema_item where migration = $1 and item = $2",
                   {options_.migration, mark}));
  if (!done.empty()) return {};
  auto restored = target.exec(
      fmt::format("begin; insert into banyan.schema_item values ({}, {});\n{}\n;commit",
                  pg::quote_literal(options_.migration), pg::quote_literal(mark), item.sql));
  if (!restored) (void)target.exec("rollback");  // the failure itself is reported
  auto named = with_context(std::move(restored), "restoring " + mark);
  const bool taken = !named && named.error().message().contains("[42P07]");
  if (!taken) return named;
  return std::unexpected(std::move(named).error().with_remedy(
      "The new database is not empty. Drop and create it again "
      "(Banyan never drops data), then cancel and create."));
}

Result<void> SchemaCopy::restore(const std::vector<SchemaItem>& items) const {
  TRY(auto target, open_target());
  for (const auto& item : items) {
    if (options_.is_cancelled()) return failure(Code::kCancelled, "cancelled");
    TRY_VOID(restore_item(target, item));
  }
  return {};
}

// pg_dump of single tables leaves out what they are made of. Routines may need tables that do not
// move, or that come later: what cannot be restored is left, and tried again after the tables.
Result<void> SchemaCopy::restore_types() {
  if (options_.tables.empty()) return {};
  TRY(const auto items, load(kTypes));
  TRY(auto target, open_target());
  for (const auto& item : items) {
    if (!is_needed_by_tables(item)) continue;
    if (auto done = restore_item(target, item); !done) {
      log_warn("left out of the split", {{"object", item.name}, {"error", done.error().message()}});
    }
  }
  return {};
}

Result<void> SchemaCopy::restore_pre_data() {
  TRY_VOID(restore_types());
  TRY_VOID(restore_tables());
  return restore_types();
}

Result<void> SchemaCopy::restore_tables() {
  TRY(const auto items, load("pre-data"));
  // One transaction: the objects depend on one another, and nothing is worth keeping of a half.
  SchemaItem all{"pre-data", "SECTION", "", ""};
  for (const auto& item : items) {
    const bool exists_anyway = item.type == "SCHEMA" && item.name == "public";
    if (!exists_anyway) all.sql += item.sql;
  }
  return restore({all});
}

Result<void> SchemaCopy::restore_in_parallel(const std::vector<SchemaItem>& items) const {
  std::atomic<std::size_t> next = 0;
  Guarded<Result<void>> outcome;
  const auto work = [&] {
    auto target = open_target();
    while (target) {
      const auto mine = next++;
      if (mine >= items.size() || options_.is_cancelled()) return;
      auto done = restore_item(*target, items[mine]);
      if (done) continue;
      outcome.with([&](Result<void>& result) { result = std::move(done); });
      next = items.size();
    }
    outcome.with([&](Result<void>& result) { result = std::unexpected(target.error()); });
  };
  std::vector<std::thread> workers;
  for (int worker = 0; worker < std::max(1, options_.jobs); worker++) workers.emplace_back(work);
  for (auto& worker : workers) worker.join();
  if (options_.is_cancelled()) return failure(Code::kCancelled, "cancelled");
  return outcome.with([](Result<void>& result) { return std::move(result); });
}

Result<void> SchemaCopy::build_keys() {
  TRY(const auto items, load("post-data"));
  return restore_in_parallel(only(items, is_key));
}

Result<void> SchemaCopy::build_indexes() {
  TRY(const auto items, load("post-data"));
  TRY_VOID(restore_in_parallel(
      only(items, [](const SchemaItem& item) { return is_index_phase(item) && !is_key(item); })));
  return restore(only(items, [](const SchemaItem& item) { return item.type == "INDEX ATTACH"; }));
}

Result<void> SchemaCopy::restore_foreign_keys(const std::vector<SchemaItem>& items) const {
  TRY(auto target, open_target());
  for (const auto& item : items) {
    auto unchecked = item;
    unchecked.sql = not_valid(item.sql);
    // Partitioned tables take no NOT VALID foreign keys before PostgreSQL 18.
    if (!restore_item(target, unchecked)) TRY_VOID(restore_item(target, item));
  }
  for (const auto& item : items) {
    if (options_.is_cancelled()) return failure(Code::kCancelled, "cancelled");
    const bool was_valid = !item.sql.contains("NOT VALID");
    if (was_valid) TRY_VOID(target.exec(validation_of(item)));
  }
  return {};
}

Result<void> SchemaCopy::finish() {
  TRY(const auto items, load("post-data"));
  TRY_VOID(restore_foreign_keys(only(items, is_foreign_key)));
  TRY_VOID(restore(only(items, [](const SchemaItem& item) {
    const bool before = is_index_phase(item) || is_foreign_key(item) || item.type == "INDEX ATTACH";
    return !before && item.type != "SETTINGS";
  })));
  TRY(auto target, open_target());
  TRY_VOID(refresh_materialized_views(target));
  return target.exec("analyze");
}

}  // namespace banyan::replication
