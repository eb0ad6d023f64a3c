#include "planes/replication/extension_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <set>

namespace banyan::replication {
namespace {

// {0}: the condition for columns that hold data.
constexpr std::string_view kTables = R"sql(
select e.extname, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
  (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_catalog.pg_attribute a
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped {0}),
  k.condition, c.relkind = 'S', c.oid
from pg_catalog.pg_extension e
cross join lateral unnest(e.extconfig, e.extcondition) with ordinality k(id, condition, place)
join pg_catalog.pg_class c on c.oid = k.id
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'S') order by e.oid, k.place)sql";

std::string rows_of(const ExtensionTable& table) {
  return fmt::format("select {} from only {} {}", table.columns, table.qualified, table.condition);
}

Result<bool> is_there(pg::Connection& db, const ExtensionTable& table) {
  TRY(const auto rows,
      db.query("select pg_catalog.to_regclass($1) is not null", {table.qualified}));
  return rows.boolean(0, 0);
}

// Whether the other side has the same rows. A table that is not there has none.
Result<bool> is_equal(pg::Connection& active, pg::Connection& passive,
                      const ExtensionTable& table) {
  TRY(const auto here, extension_rows_digest(active, table));
  TRY(const bool exists, is_there(passive, table));
  if (!exists) return here == "0 ";
  TRY(const auto there, extension_rows_digest(passive, table));
  return here == there;
}

Result<void> carry_value(pg::Connection& active, pg::Connection& passive,
                         const ExtensionTable& table) {
  TRY(const auto value, active.query("select last_value, is_called from " + table.qualified));
  TRY_VOID(passive.query("select pg_catalog.setval($1, $2::int8, $3::bool)",
                         {table.qualified, value.param(0, 0), value.param(0, 1)}));
  return {};
}

Result<void> carry_rows(pg::Connection& active, pg::Connection& passive,
                        const ExtensionTable& table) {
  if (table.is_sequence) return carry_value(active, passive, table);
  return copy_through(active, passive, fmt::format("copy ({}) to stdout", rows_of(table)),
                      fmt::format("copy {} ({}) from stdin", table.qualified, table.columns));
}

// Rows of one table may refer to those of another: all of an extension go, then come again.
Result<void> replace_rows(pg::Connection& active, pg::Connection& passive,
                          const std::vector<ExtensionTable>& tables) {
  for (const auto& table : tables | std::views::reverse) {
    if (table.is_sequence) continue;
    TRY_VOID(with_context(
        passive.exec(fmt::format("delete from only {} {}", table.qualified, table.condition)),
        "replacing rows of " + table.qualified));
  }
  for (const auto& table : tables) {
    TRY_VOID(with_context(
        carry_rows(active, passive, table),
        fmt::format("carrying rows of {} (extension {})", table.qualified, table.extension)));
  }
  return {};
}

Result<std::vector<ExtensionTable>> differing(pg::Connection& active, pg::Connection& passive,
                                              const std::vector<ExtensionTable>& tables) {
  std::vector<ExtensionTable> found;
  for (const auto& table : tables) {
    TRY(const bool equal, is_equal(active, passive, table));
    if (!equal) found.push_back(table);
  }
  return found;
}

}  // namespace

Result<std::vector<ExtensionTable>> extension_tables(pg::Connection& db, const TableNames& moved) {
  std::set<std::int64_t> streamed;
  if (!moved.empty()) {
    TRY(const auto tables, fenced_tables(db, moved));
    for (const auto& table : tables) streamed.insert(table.oid);
  }
  const auto* holds_data = db.server_version() >= 120000 ? "and a.attgenerated = ''" : "";
  TRY(const auto rows, db.query(fmt::format(kTables, holds_data)));
  std::vector<ExtensionTable> tables;
  for (std::size_t row = 0; row < rows.size(); row++) {
    if (streamed.contains(rows.integer(row, 5))) continue;
    tables.push_back({.extension = rows.str(row, 0),
                      .qualified = rows.str(row, 1),
                      .columns = rows.str(row, 2),
                      .condition = rows.str(row, 3),
                      .is_sequence = rows.boolean(row, 4)});
  }
  return tables;
}

Result<std::string> extension_rows_digest(pg::Connection& db, const ExtensionTable& table) {
  if (table.is_sequence) {
    TRY(const auto value,
        db.query("select last_value || ' ' || is_called from " + table.qualified));
    return value.str(0, 0);
  }
  TRY(const auto rows,
      db.query(fmt::format("select count(*) || ' ' || coalesce(pg_catalog.md5(string_agg(r::text, "
                           "E'\\n' order by r::text collate \"C\")), '') from ({}) r",
                           rows_of(table))));
  return rows.str(0, 0);
}

Result<CarriedObjects> carry_extension_rows(pg::Connection& active, pg::Connection& passive,
                                            const TableNames& moved) {
  TRY(const auto tables, extension_tables(active, moved));
  TRY(const auto changed, differing(active, passive, tables));
  std::set<std::string> extensions;
  for (const auto& table : changed) extensions.insert(table.extension);
  for (const auto& extension : extensions) {
    std::vector<ExtensionTable> own;
    std::ranges::copy_if(tables, std::back_inserter(own),
                         [&](const ExtensionTable& table) { return table.extension == extension; });
    TRY_VOID(replace_rows(active, passive, own));
  }
  return CarriedObjects{tables.size(), changed.size()};
}

Result<void> check_extension_rows(pg::Connection& active, pg::Connection& passive,
                                  const TableNames& moved) {
  TRY(const auto tables, extension_tables(active, moved));
  TRY(const auto changed, differing(active, passive, tables));
  if (changed.empty()) return {};
  return std::unexpected(
      Error(Code::kConflict, fmt::format("{} (extension {}) was written in the pause: nothing "
                                         "closes tables of extensions",
                                         changed.front().qualified, changed.front().extension))
          .with_remedy("1. Switch again: its rows are carried anew. 2. Stop what writes it."));
}

}  // namespace banyan::replication
