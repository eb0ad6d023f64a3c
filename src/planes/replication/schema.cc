#include "planes/replication/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "base/guarded.h"
#include "base/log.h"
#include "planes/replication/made_objects.h"
#include "planes/replication/roles.h"

namespace banyan::replication {
namespace {

const std::string kTables = "SECTION";  // what makes the tables, as one item

std::string mark_of(const SchemaItem& item) {
  return item.type + " " + item.schema + "." + item.name;
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

// The dump creates them empty; those that build on others come later in creation order. What is
// empty on the source stays so.
Result<void> refresh_materialized_views(pg::Connection& source, pg::Connection& target) {
  TRY(const auto views, target.query("select oid::pg_catalog.regclass from pg_catalog.pg_class "
                                     "where relkind = 'm' and not relispopulated order by oid"));
  for (std::size_t row = 0; row < views.size(); row++) {
    TRY(const auto filled,
        source.query("select 1 from pg_catalog.pg_class where relispopulated and "
                     "oid = pg_catalog.to_regclass($1)",
                     {views.param(row, 0)}));
    if (filled.empty()) continue;
    TRY_VOID(with_context(target.exec("refresh materialized view " + views.str(row, 0)),
                          "refreshing " + views.str(row, 0)));
  }
  return {};
}

bool is_index_phase(const SchemaItem& item) {
  return item.type == "CONSTRAINT" || item.type == "INDEX" || item.type == "STATISTICS";
}

// What a table's definition may use and a dump of single tables leaves out.
bool is_needed_by_tables(const SchemaItem& item) {
  static const std::set<std::string_view> kKinds = {"SCHEMA",
                                                    "EXTENSION",
                                                    "TYPE",
                                                    "SHELL TYPE",
                                                    "DOMAIN",
                                                    "COLLATION",
                                                    "FUNCTION",
                                                    "PROCEDURE",
                                                    "AGGREGATE",
                                                    "OPERATOR",
                                                    "OPERATOR CLASS",
                                                    "OPERATOR FAMILY",
                                                    "CAST",
                                                    "TRANSFORM",
                                                    "ACCESS METHOD",
                                                    "CONVERSION",
                                                    "PROCEDURAL LANGUAGE",
                                                    "TEXT SEARCH PARSER",
                                                    "TEXT SEARCH TEMPLATE",
                                                    "TEXT SEARCH DICTIONARY",
                                                    "TEXT SEARCH CONFIGURATION"};
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

bool has_target(const std::vector<TableMapping>& tables, const TableMapping& wanted) {
  return std::ranges::any_of(tables, [&](const TableMapping& table) {
    return table.target_name() == wanted.target_name();
  });
}

}  // namespace

bool is_key(const SchemaItem& item) {
  const bool primary = item.type == "CONSTRAINT" && item.sql.contains(" PRIMARY KEY (");
  return primary || (is_index_phase(item) && item.sql.contains(" REPLICA IDENTITY USING INDEX "));
}

Result<std::vector<std::string>> missing_tablespaces(pg::Connection& source,
                                                     pg::Connection& target) {
  TRY(const auto used,
      source.query("select spcname from pg_catalog.pg_tablespace where spcname !~ '^pg_' and oid "
                   "in (select reltablespace from pg_catalog.pg_class) order by 1"));
  std::vector<std::string> missing;
  for (std::size_t row = 0; row < used.size(); row++) {
    TRY(const auto usable,
        target.query("select 1 from pg_catalog.pg_tablespace where spcname = $1 and "
                     "pg_catalog.has_tablespace_privilege(oid, 'create')",
                     {used.param(row, 0)}));
    if (usable.empty()) missing.push_back(used.str(row, 0));
  }
  return missing;
}

// Of those that move; none where the whole database does.
TableNames SchemaCopy::listed_tables(const std::vector<FencedTable>& moved) const {
  if (options_.tables.empty()) return {};
  const bool whole = options_.family == SchemaCopyOptions::Family::kWhole;
  TableNames listed;
  for (const auto& table : moved) {
    const bool is_named =
        std::ranges::find(options_.tables, table.qualified) != options_.tables.end();
    if (whole || is_named) listed.push_back(table.qualified);
  }
  return listed;
}

// Mapped tables that are there already, and the partitions of such.
Result<TableNames> SchemaCopy::excluded_tables(const std::vector<FencedTable>& moved,
                                               pg::Connection& target) const {
  TRY(const auto absent, absent_there(target, options_.mapping));
  TableNames excluded;
  for (const auto& table : options_.mapping.tables()) {
    if (!has_target(absent, table)) excluded.push_back(table.source_name());
  }
  for (const auto& table : moved) {
    if (!options_.mapping.has_root_of(table)) continue;
    const auto root = parse_table_name(table.root);
    if (!has_target(absent, options_.mapping.of(root.schema, root.table)))
      excluded.push_back(table.qualified);
  }
  return excluded;
}

Result<void> SchemaCopy::dump(const std::string& snapshot, Owners owners) {
  TRY(auto source, pg::Connection::open(options_.source_url));
  TRY(auto target, open_target());
  TRY_VOID(with_context(carry_roles(source, target), "reading the roles"));
  TRY(const bool may_keep, can_keep_owners(source, target));
  keeps_owners_ = owners == Owners::kKeep && may_keep;
  TRY(const auto elsewhere, missing_tablespaces(source, target));
  TRY(const auto unlabelled, missing_label_providers(source, target));
  TRY(const auto moved, fenced_tables(source, options_.tables));
  TRY(auto excluded, excluded_tables(moved, target));
  return with_context(dump_schema(source, {.source_url = options_.source_url,
                                           .snapshot = snapshot,
                                           .directory = options_.directory,
                                           .tables = listed_tables(moved),
                                           .excluded = std::move(excluded),
                                           .keeps_owners = keeps_owners_,
                                           .keeps_tablespaces = elsewhere.empty(),
                                           .keeps_labels = unlabelled.empty()}),
                      "reading the schema");
}

// Crash-safe by repetition: what is dropped already is not found again, and the marks go last.
Result<void> SchemaCopy::take_back_earlier() const {
  TRY(auto target, open_target());
  TRY(const auto report, drop_made_objects(target, options_.migration));
  std::string kept;
  for (const auto& [name, why] : report.kept) kept += fmt::format("; {}: {}", name, why);
  if (!kept.empty()) {
    return std::unexpected(
        Error(Code::kConflict, "what an interrupted attempt made cannot be dropped" + kept)
            .with_remedy("1. Drop in the new database what depends on these objects, then start "
                         "again. 2. Cancel the migration and create it for an empty database."));
  }
  if (!report.dropped.empty()) {
    log_info("the schema is made anew, under a new snapshot", {{"migration", options_.migration}});
  }
  TRY_VOID(
      target.query("delete from banyan.schema_item where migration = $1", {options_.migration}));
  return {};
}

// Without superuser rights an owner may be refused for many reasons: then our role owns everything.
Result<void> SchemaCopy::bring_pre_data(const std::string& snapshot) {
  shaped_.clear();
  TRY_VOID(take_back_earlier());
  TRY_VOID(dump(snapshot, Owners::kKeep));
  auto restored = restore_pre_data();
  const bool is_refused = !restored && restored.error().message().contains("[42501]");
  if (!is_refused || !keeps_owners_) return restored;
  log_warn("owners and grants are left out", {{"error", restored.error().message()}});
  TRY_VOID(dump(snapshot, Owners::kLeaveOut));
  return restore_pre_data();
}

Result<void> SchemaCopy::carry_database() const {
  if (!options_.tables.empty()) return {};
  TRY(auto source, pg::Connection::open(options_.source_url));
  TRY(auto target, open_target());
  TRY(const auto statements, database_settings(source, target));
  for (const auto& sql : statements) {
    if (auto done = target.exec(sql); !done) {
      log_warn("not carried", {{"statement", sql}, {"error", done.error().message()}});
    }
  }
  return {};
}

Result<std::vector<SchemaItem>> SchemaCopy::load(const std::string& section) const {
  TRY(auto items, read_section(options_.directory, section));
  TRY(auto target, open_target());
  const bool is_super = is_superuser(target);
  std::erase_if(items, [&](const SchemaItem& item) {
    const bool own_trigger = item.type == "TRIGGER" && item.name.contains(" banyan_fence");
    const bool own_comment =
        item.type == "COMMENT" && item.schema == "-" && item.name == "SCHEMA public";
    const bool own_watch = item.type == "EVENT TRIGGER" && item.name.starts_with("banyan_");
    // An extension that an administrator made is his to comment on.
    const bool others_comment = item.type == "COMMENT" && item.name.starts_with("EXTENSION ");
    const bool left_out =
        std::ranges::find(options_.left_out, mark_of(item)) != options_.left_out.end();
    return own_trigger || own_comment || own_watch || left_out || (others_comment && !is_super);
  });
  return items;
}

Result<pg::Connection> SchemaCopy::open_target() const {
  TRY(auto target, pg::Connection::open(options_.target_url));
  // The server gives an index as many workers as its table is large, within these limits. A quarter
  // of what the server takes for its cache is for sorting; a sort takes of its share what it needs.
  TRY_VOID(target.exec(fmt::format(
      "set client_min_messages = warning; create table if not exists banyan.schema_item("
      "migration text, item text, primary key (migration, item)); set check_function_bodies = off; "
      "select pg_catalog.set_config('maintenance_work_mem', greatest("
      "pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')), least(1 << "
      "30, "
      "pg_catalog.pg_size_bytes(pg_catalog.current_setting('effective_cache_size')) / {})) / 1024 "
      "|| 'kB', false); set max_parallel_maintenance_workers = {}; set "
      "default_table_access_method = heap",
      4 * std::max(1, options_.jobs), std::max(0, options_.jobs - 1))));
  return target;
}

Result<std::vector<TableMapping>> SchemaCopy::tables_made() const {
  auto made = options_.mapping.tables();
  if (made.empty()) return made;
  TRY(const auto items, load(kPreData));
  std::erase_if(made, [&](const TableMapping& table) {
    return std::ranges::none_of(items, [&](const SchemaItem& item) {
      return item.type == "TABLE" && item.schema == table.source_schema &&
             item.name == table.source_table;
    });
  });
  return made;
}

// What is restored onto the tables: indexes, constraints, triggers.
Result<std::vector<SchemaItem>> SchemaCopy::post_data() {
  TRY(shaped_, tables_made());
  return load(kPostData);
}

// What stands on a column that is left out, or on a table that somebody else made there.
bool SchemaCopy::may_be_left_out(const SchemaItem& item, const Error& error) const {
  const auto& said = error.message();
  const bool misses = said.contains("[42703]") || said.contains("[42P01]") ||
                      said.contains("[42704]") || said.contains("[42830]");
  return misses && std::ranges::any_of(options_.mapping.tables(), [&](const TableMapping& table) {
           const bool is_made = has_target(shaped_, table);
           return (!table.left_out.empty() || !is_made) && item.sql.contains(table.source_table);
         });
}

Result<void> SchemaCopy::restore_in_transaction(pg::Connection& target,
                                                const SchemaItem& item) const {
  TRY_VOID(target.exec(
      fmt::format("begin; insert into banyan.schema_item values ({}, {}); set "
                  "local default_tablespace = {};\n{}\n",
                  pg::quote_literal(options_.migration), pg::quote_literal(mark_of(item)),
                  pg::quote_literal(item.tablespace), under_old_names(shaped_, item.sql))));
  if (item.type == kTables) TRY_VOID(options_.fence(target));
  return target.exec("commit");
}

Result<void> SchemaCopy::restore_item(pg::Connection& target, const SchemaItem& item) const {
  const auto mark = mark_of(item);
  TRY(const auto done,
      target.query("select 1 from banyan.schema_item where migration = $1 and item = $2",
                   {options_.migration, mark}));
  if (!done.empty()) return {};
  auto restored = restore_in_transaction(target, item);
  if (!restored) (void)target.exec("rollback");  // the failure itself is reported
  if (!restored && may_be_left_out(item, restored.error())) {
    log_warn("left out under the mapping",
             {{"object", mark}, {"error", restored.error().message()}});
    return {};
  }
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
// The item, with what it creates noted as ours.
SchemaItem SchemaCopy::noted(SchemaItem item) const {
  item.sql = begin_noting_sql() + item.sql + end_noting_sql(options_.migration);
  return item;
}

Result<void> SchemaCopy::restore_types() {
  if (options_.tables.empty()) return {};
  TRY(const auto items, load(kTypes));
  TRY(auto target, open_target());
  for (const auto& item : items) {
    if (!is_needed_by_tables(item)) continue;
    if (auto done = restore_item(target, noted(item)); !done) {
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

// A parent that is there has its keys: attached, the partition would get them at once, under other
// names than its own are about to be made with. So it is attached behind them, and keeps its own.
Result<bool> SchemaCopy::is_attached_late(pg::Connection& target, const SchemaItem& item) const {
  if (item.type != "TABLE ATTACH") return false;
  constexpr std::string_view kBefore = "ALTER TABLE ONLY ";
  const auto from = item.sql.find(kBefore);
  const auto to = item.sql.find(" ATTACH PARTITION ");
  if (from == std::string::npos || to == std::string::npos) return false;
  const auto parent = item.sql.substr(from + kBefore.size(), to - from - kBefore.size());
  TRY(const auto found, target.query("select pg_catalog.to_regclass($1) is not null", {parent}));
  return found.boolean(0, 0);
}

Result<void> SchemaCopy::restore_tables() {
  TRY(const auto items, load(kPreData));
  // One transaction: the objects depend on one another, and nothing is worth keeping of a half.
  SchemaItem all{kPreData, kTables, "", ""};
  attached_late_.clear();
  TRY(auto target, open_target());
  for (const auto& item : items) {
    const bool exists_anyway = item.type == "SCHEMA" && item.name == "public";
    if (exists_anyway) continue;
    TRY(const bool is_late, is_attached_late(target, item));
    if (is_late) attached_late_.push_back(item);
    if (!is_late) all.sql += item.sql;
  }
  TRY(const auto made, tables_made());
  all.sql += shape_sql(made);
  return restore({noted(std::move(all))});
}

Result<void> SchemaCopy::in_parallel(std::size_t count, const Work& work) const {
  std::atomic<std::size_t> next = 0;
  Guarded<Result<void>> outcome;
  const auto run = [&] {
    auto target = open_target();
    while (target) {
      const auto mine = next++;
      if (mine >= count || options_.is_cancelled()) return;
      auto done = work(*target, mine);
      if (done) continue;
      outcome.with([&](Result<void>& result) { result = std::move(done); });
      next = count;
    }
    outcome.with([&](Result<void>& result) { result = std::unexpected(target.error()); });
  };
  std::vector<std::thread> workers;
  for (int worker = 0; worker < std::max(1, options_.jobs); worker++) workers.emplace_back(run);
  for (auto& worker : workers) worker.join();
  if (options_.is_cancelled()) return failure(Code::kCancelled, "cancelled");
  return outcome.with([](Result<void>& result) { return std::move(result); });
}

Result<void> SchemaCopy::restore_in_parallel(const std::vector<SchemaItem>& items) const {
  return in_parallel(items.size(), [&](pg::Connection& target, std::size_t item) {
    return restore_item(target, items[item]);
  });
}

// A partitioned table is analyzed with its partitions; the server's own catalogs are left to it.
Result<void> SchemaCopy::analyze() const {
  TRY(auto target, open_target());
  TRY(const auto tables,
      target.query("select c.oid::pg_catalog.regclass from pg_catalog.pg_class c join "
                   "pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in "
                   "('r', 'p', 'm') and not c.relispartition and c.relpersistence <> 't' and "
                   "n.nspname !~ '^pg_' and n.nspname <> 'information_schema' "
                   "order by c.relpages desc"));
  return in_parallel(tables.size(), [&](pg::Connection& session, std::size_t table) {
    auto done = session.exec("analyze " + tables.str(table, 0));
    const bool is_gone = !done && done.error().message().contains("[42P01]");
    return is_gone ? Result<void>() : done;
  });
}

Result<void> SchemaCopy::build_keys() {
  TRY(const auto items, post_data());
  return restore_in_parallel(only(items, is_key));
}

Result<void> SchemaCopy::build_indexes() {
  TRY(const auto items, post_data());
  TRY_VOID(restore_in_parallel(
      only(items, [](const SchemaItem& item) { return is_index_phase(item) && !is_key(item); })));
  TRY_VOID(restore(attached_late_));
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
    if (!was_valid) continue;
    auto validated =
        target.exec("begin;" + under_old_names(shaped_, validation_of(item)) + ";commit");
    if (!validated) (void)target.exec("rollback");  // the failure itself is reported
    const bool is_there = validated || !may_be_left_out(item, validated.error());
    if (is_there) TRY_VOID(std::move(validated));
  }
  return {};
}

Result<void> SchemaCopy::finish() {
  TRY(const auto items, post_data());
  TRY_VOID(restore_foreign_keys(only(items, is_foreign_key)));
  auto rest = only(items, [](const SchemaItem& item) {
    const bool before = is_index_phase(item) || is_foreign_key(item) || item.type == "INDEX ATTACH";
    return !before && item.type != "SETTINGS";
  });
  for (auto& item : rest) {
    const bool stands_alone = item.type == "EVENT TRIGGER" || item.type == "DEFAULT ACL";
    if (stands_alone) item = noted(std::move(item));
  }
  TRY_VOID(restore(rest));
  TRY(auto target, open_target());
  TRY(auto source, pg::Connection::open(options_.source_url));
  TRY_VOID(refresh_materialized_views(source, target));
  TRY_VOID(carry_database());
  return analyze();
}

}  // namespace banyan::replication
