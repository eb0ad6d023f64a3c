#include "planes/replication/catalog.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::replication {
namespace {

constexpr std::string_view kTables = R"sql(
select c.oid, n.nspname, c.relname, c.relreplident, {},
       greatest(c.reltuples, 0)::bigint, {}, c.relkind = 'p'
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and c.relpersistence = '{}' and {} order by 5 desc, 1
)sql";

constexpr std::string_view kColumns = R"sql(
select a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid,
       {}, a.attidentity, a.attcollation in (950, 951)
from pg_catalog.pg_attribute a
where a.attrelid = any ('{{{}}}'::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
)sql";

// Columns of the primary key and of the replica identity's index, in index order.
constexpr std::string_view kKeys = R"sql(
select i.indrelid, a.attname, i.indisprimary,
       case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false
       end
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indrelid
cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, position)
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = any ('{{{}}}'::oid[]) and (i.indisprimary or i.indisreplident) and i.indisvalid
  and k.position <= {}
order by i.indrelid, i.indexrelid, k.position
)sql";

std::string oid_list(const std::vector<Table>& tables) {
  std::string list;
  for (const auto& table : tables) list += fmt::format("{}{}", list.empty() ? "" : ",", table.oid);
  return list;
}

Table* find(std::vector<Table>& tables, std::int64_t oid) {
  for (auto& table : tables) {
    if (table.oid == static_cast<std::uint32_t>(oid)) return &table;
  }
  return nullptr;
}

Result<void> read_columns(pg::Connection& db, std::vector<Table>& tables) {
  const auto* generated = db.server_version() >= 120000 ? "a.attgenerated <> ''" : "false";
  TRY(const auto rows, db.query(fmt::format(kColumns, generated, oid_list(tables))));
  Table* table = nullptr;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const auto oid = rows.integer(row, 0);
    if (table == nullptr || table->oid != oid) table = find(tables, oid);
    const auto identity = rows.text(row, 5);
    table->columns.push_back({.name = rows.str(row, 1),
                              .type = rows.str(row, 2),
                              .type_id = static_cast<std::uint32_t>(rows.integer(row, 3)),
                              .is_generated = rows.boolean(row, 4),
                              .is_bytewise = rows.boolean(row, 6),
                              .identity = identity.empty() ? '\0' : identity[0]});
  }
  return {};
}

Result<void> read_keys(pg::Connection& db, std::vector<Table>& tables) {
  const auto* width = db.server_version() >= 110000 ? "i.indnkeyatts" : "i.indnatts";
  TRY(const auto rows, db.query(fmt::format(kKeys, oid_list(tables), width)));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    Table* table = find(tables, rows.integer(row, 0));
    if (rows.boolean(row, 2)) table->primary_key.push_back(rows.str(row, 1));
    if (rows.boolean(row, 3)) table->replica_key.push_back(rows.str(row, 1));
  }
  return {};
}

// Asking for a size waits for whoever truncates the table, which may be our own transaction.
struct SizeSql {
  std::string_view total;
  std::string_view heap;
};
constexpr SizeSql kMeasured{"pg_catalog.pg_table_size(c.oid)",
                            "pg_catalog.pg_relation_size(c.oid)"};
constexpr SizeSql kMeasuredByParts{
    "case when c.relkind = 'r' then pg_catalog.pg_table_size(c.oid) else (select coalesce("
    "sum(pg_catalog.pg_table_size(relid)), 0)::bigint from pg_catalog.pg_partition_tree(c.oid)) "
    "end",
    "pg_catalog.pg_relation_size(c.oid)"};
constexpr SizeSql kUnknown{"0::bigint", "0::bigint"};

Result<std::vector<Table>> read_where(pg::Connection& db, const SizeSql& size,
                                      const std::string& condition, char persistence = 'p') {
  TRY(const auto rows,
      db.query(fmt::format(kTables, size.total, size.heap, persistence, condition)));
  std::vector<Table> tables(rows.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto& table = tables[row];
    table.oid = static_cast<std::uint32_t>(rows.integer(row, 0));
    table.schema = rows.str(row, 1);
    table.name = rows.str(row, 2);
    table.replica_identity = rows.text(row, 3)[0];
    table.bytes = rows.integer(row, 4);
    table.rows_estimate = rows.integer(row, 5);
    table.heap_bytes = rows.integer(row, 6);
    table.is_partitioned = rows.boolean(row, 7);
  }
  TRY_VOID(read_columns(db, tables));
  TRY_VOID(read_keys(db, tables));
  return tables;
}

std::string among(const std::vector<FencedTable>& tables) {
  return fmt::format("c.oid = any ('{{{}}}'::oid[])", oid_list(tables));
}

bool moves_through_roots(const std::vector<FencedTable>& tables, const Mapping& mapping) {
  return std::ranges::any_of(mapping.moving(tables), &FencedTable::is_partitioned);
}

constexpr const char* kOwnDdlLog =
    "select 1 from pg_catalog.pg_class where oid = pg_catalog.to_regclass('banyan.ddl_log') "
    "and pg_catalog.pg_has_role(relowner, 'usage')";

// What to name in the publication: roots instead of their partitions where the server can do that,
// but only the mapped ones when roots give the rows their names.
Result<std::vector<PublishedTable>> published_list(pg::Connection& db,
                                                   std::vector<FencedTable> tables,
                                                   const Mapping& mapping) {
  const auto* which = db.server_version() >= 130000
                          ? "not c.relispartition and c.relkind in ('r', 'p')"
                          : "c.relkind = 'r'";
  if (moves_through_roots(tables, mapping)) {
    tables = mapping.moving(std::move(tables));
    which = "true";
  }
  TRY(const auto rows,
      db.query(fmt::format("select n.nspname, c.relname, c.relkind from pg_catalog.pg_class c "
                           "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
                           "where c.relpersistence = 'p' and {} and {} order by c.oid",
                           which, among(tables))));
  std::vector<PublishedTable> list;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::string entry = rows.text(row, 2) == "r" ? "only " : "";
    entry += pg::quote_qualified(rows.text(row, 0), rows.text(row, 1));
    const auto* mapped = mapping.find(rows.text(row, 0), rows.text(row, 1));
    if (mapped != nullptr && !mapped->where.empty()) entry += " where (" + mapped->where + ")";
    list.push_back({rows.str(row, 0) + "." + rows.str(row, 1), std::move(entry)});
  }
  return list;
}

// A publication's row condition would make the application's own updates fail unless the replica
// identity holds every column it looks at.
Result<void> prepare_conditions(pg::Connection& db, std::vector<Table>& tables,
                                const Mapping& mapping) {
  for (auto& table : tables) {
    const auto* mapped = mapping.find(table.schema, table.name);
    if (mapped == nullptr || mapped->where.empty()) continue;
    if (db.server_version() < 150000) {
      return std::unexpected(
          Error(Code::kUnsupported, "a condition on the rows of " + table.display() +
                                        " needs a source of PostgreSQL 15 or newer")
              .with_remedy("1. Move the whole table.\n2. Upgrade the source first."));
    }
    if (table.replica_identity != 'f') table.replica_key.clear();
  }
  return {};
}

Result<void> set_full_identity(pg::Connection& db, const std::vector<Table>& tables) {
  for (const auto& table : tables) {
    if (!table.needs_full_identity()) continue;
    TRY_VOID(with_context(
        db.exec(fmt::format("set lock_timeout = '3s'; alter table only {} replica identity full",
                            table.qualified())),
        "setting the replica identity of " + table.display()));
  }
  return db.exec("set lock_timeout = 0");
}

}  // namespace

const Column* Table::column(std::string_view wanted) const {
  for (const auto& column : columns) {
    if (column.name == wanted) return &column;
  }
  return nullptr;
}

Result<std::vector<Table>> read_tables(pg::Connection& db, const Direction& direction) {
  TRY(auto moved, fenced_tables(db, direction.from));
  const auto& size = db.server_version() >= 130000 ? kMeasuredByParts : kMeasured;
  return read_where(db, size, among(direction.mapping.moving(std::move(moved))));
}

Result<std::vector<Table>> read_unlogged(pg::Connection& db, const TableNames& tables) {
  TRY(const auto moved, fenced_tables(db, tables));
  return read_where(db, kMeasured, "c.relkind = 'r' and " + among(moved), 'u');
}

Result<Table> read_table(pg::Connection& db, const std::string& schema, const std::string& name) {
  const auto condition = fmt::format("n.nspname = {} and c.relname = {}", pg::quote_literal(schema),
                                     pg::quote_literal(name));
  TRY(auto tables, read_where(db, kUnknown, condition));
  if (tables.size() == 1) return std::move(tables[0]);
  return std::unexpected(
      Error(Code::kNotFound,
            fmt::format("there is no table {}.{} on the applying side", schema, name))
          .with_remedy("Create it there as it is on the other side, then start again."));
}

Result<void> find_extension_operators(pg::Connection& db) {
  auto done = db.query(
      "select pg_catalog.set_config('search_path', pg_catalog.concat_ws(',', 'pg_catalog', "
      "(select string_agg(distinct pg_catalog.quote_ident(n.nspname), ',') from "
      "pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace "
      "where n.nspname <> 'pg_catalog')), false)");
  if (!done) return std::unexpected(std::move(done).error());
  return {};
}

Result<std::vector<PublishedTable>> published_own_tables(pg::Connection& db) {
  std::vector<std::string> names = {"banyan.barrier", "banyan.heartbeat", "banyan.progress"};
  TRY(const auto log, db.query(kOwnDdlLog));
  if (!log.empty()) names.emplace_back("banyan.ddl_log");
  std::vector<PublishedTable> tables;
  for (auto& name : names) tables.push_back({name, "only " + name});
  return tables;
}

std::string entries_of(const std::vector<PublishedTable>& tables) {
  std::string list;
  for (const auto& table : tables) list += (list.empty() ? "" : ", ") + table.entry;
  return list;
}

Result<Publishable> publishable(pg::Connection& db, const Direction& direction) {
  TRY(auto holding, read_tables(db, direction));
  TRY_VOID(prepare_conditions(db, holding, direction.mapping));
  TRY_VOID(set_full_identity(db, holding));
  TRY(const auto moved, fenced_tables(db, direction.from));
  TRY(auto tables, published_list(db, moved, direction.mapping));
  return Publishable{.tables = std::move(tables),
                     .is_through_roots = moves_through_roots(moved, direction.mapping)};
}

Result<void> publish(pg::Connection& db, const std::string& publication,
                     const Direction& direction) {
  TRY(const auto moved, publishable(db, direction));
  TRY(auto all, published_own_tables(db));
  all.insert(all.end(), moved.tables.begin(), moved.tables.end());
  const auto list = entries_of(all);
  TRY(const auto existing,
      db.query("select 1 from pg_catalog.pg_publication where pubname = $1", {publication}));
  const auto verb = existing.empty() ? "create publication {} for table {}{}"
                                     : "alter publication {} set table {}";
  const auto* options = moved.is_through_roots ? " with (publish_via_partition_root = true)" : "";
  return with_context(
      db.exec(fmt::format(fmt::runtime(verb), pg::quote_ident(publication), list, options)),
      "publishing the moved tables");
}

Result<std::set<std::string>> published_names(pg::Connection& db, const TableNames& tables) {
  TRY(const auto found, fenced_tables(db, tables));
  TRY(const auto rows,
      db.query("select n.nspname || '.' || c.relname from pg_catalog.pg_class c join "
               "pg_catalog.pg_namespace n on n.oid = c.relnamespace where " +
               among(found)));
  std::set<std::string> names;
  for (std::size_t row = 0; row < rows.size(); ++row) names.insert(rows.str(row, 0));
  return names;
}

Result<void> drop_publication(pg::Connection& db, const std::string& publication) {
  return db.exec("drop publication if exists " + pg::quote_ident(publication));
}

}  // namespace banyan::replication
