#include "planes/replication/schema_mapping.h"

#include <fmt/format.h>

#include <ranges>

namespace banyan::replication {
namespace {

// A name nobody else has while tables change theirs.
std::string between(std::size_t number) {
  return fmt::format("banyan_moving_{}", number);
}

bool has_name_of_its_own(const TableMapping& table) {
  return table.source_schema != table.target_schema || table.source_table != table.target_table;
}

struct Naming {
  const TableMapping* table;
  bool is_forward;

  std::string_view schema() const {
    return is_forward ? table->source_schema : table->target_schema;
  }
  std::string_view name() const { return is_forward ? table->source_table : table->target_table; }
  std::string_view next_schema() const {
    return is_forward ? table->target_schema : table->source_schema;
  }
  std::string_view next_name() const {
    return is_forward ? table->target_table : table->source_table;
  }
};

std::string rename_columns(const Naming& naming) {
  const auto table = pg::quote_qualified(naming.schema(), naming.name());
  std::string away;
  std::string there;
  std::size_t number = 0;
  // Through names of no column: two may change places.
  for (const auto& [here, new_name] : naming.table->renamed) {
    const auto& from = naming.is_forward ? here : new_name;
    const auto& to = naming.is_forward ? new_name : here;
    const auto by = between(number++);
    away +=
        fmt::format("alter table {} rename column {} to {};\n", table, pg::quote_ident(from), by);
    there +=
        fmt::format("alter table {} rename column {} to {};\n", table, by, pg::quote_ident(to));
  }
  return away + there;
}

// All leave their names before any takes another's.
std::string rename_all(const std::vector<TableMapping>& tables, bool is_forward) {
  std::string sql;
  std::string there;
  std::size_t number = 0;
  for (const auto& table : tables) {
    const Naming naming{&table, is_forward};
    sql += rename_columns(naming);
    if (!has_name_of_its_own(table)) continue;
    const auto by = between(number++);
    sql += fmt::format("alter table {} rename to {};\n",
                       pg::quote_qualified(naming.schema(), naming.name()), by);
    if (naming.schema() != naming.next_schema()) {
      there +=
          fmt::format("alter table {} set schema {};\n", pg::quote_qualified(naming.schema(), by),
                      pg::quote_ident(naming.next_schema()));
    }
    there +=
        fmt::format("alter table {} rename to {};\n", pg::quote_qualified(naming.next_schema(), by),
                    pg::quote_ident(naming.next_name()));
  }
  return sql + there;
}

}  // namespace

Result<std::vector<TableMapping>> absent_there(pg::Connection& target, const Mapping& mapping) {
  std::vector<TableMapping> absent;
  for (const auto& table : mapping.tables()) {
    TRY(const auto found, target.query("select pg_catalog.to_regclass($1)", {table.target_name()}));
    if (found.is_null(0, 0)) absent.push_back(table);
  }
  return absent;
}

std::string shape_sql(const std::vector<TableMapping>& tables) {
  std::string sql;
  for (const auto& table : tables) {
    const auto name = table.source_name();
    if (!table.where.empty()) {
      sql += fmt::format("alter table only {} add constraint banyan_rows check (({}) is true);\n",
                         name, table.where);
    }
    for (const auto& column : table.left_out) {
      sql += fmt::format("alter table {} drop column {};\n", name, pg::quote_ident(column));
    }
    if (table.source_schema != table.target_schema) {
      sql += fmt::format("create schema if not exists {};\n", pg::quote_ident(table.target_schema));
    }
  }
  if (sql.empty()) return rename_all(tables, true);
  // A dump empties the path; conditions are written with the session's own.
  return "reset search_path;\n" + sql + rename_all(tables, true);
}

std::string under_old_names(const std::vector<TableMapping>& tables, const std::string& sql) {
  std::vector<TableMapping> named;
  for (const auto& table : tables) {
    const bool changes = has_name_of_its_own(table) || !table.renamed.empty();
    if (changes && sql.contains(table.source_table)) named.push_back(table);
  }
  if (named.empty()) return sql;
  return rename_all(named, false) + sql + "\n;" + rename_all(named, true);
}

Result<void> drop_row_constraints(pg::Connection& target, const Mapping& mapping) {
  std::string sql;
  for (const auto& table : mapping.tables()) {
    if (table.where.empty()) continue;
    sql += fmt::format("alter table if exists only {} drop constraint if exists banyan_rows;",
                       table.target_name());
  }
  if (sql.empty()) return {};
  return with_context(target.exec("set client_min_messages = warning;" + sql),
                      "taking away the constraints on moved rows");
}

}  // namespace banyan::replication
