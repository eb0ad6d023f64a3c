#include "planes/replication/verified_tables.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::replication {
namespace {

constexpr std::string_view kFloatBytes =
    "case a.atttypid when 700 then 'pg_catalog.float4send(%s)' when 701 then "
    "'pg_catalog.float8send(%s)' when 1021 then 'pg_catalog.array_send(%s)' when 1022 then "
    "'pg_catalog.array_send(%s)' else '%s' end";

constexpr std::string_view kTables = R"sql(
select c.oid, n.nspname, c.relname,
  pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), a.attname,
  pg_catalog.format({}, pg_catalog.quote_ident(a.attname)),
  exists (select 1 from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary
          and a.attnum = any (i.indkey::int2[])), c.relkind = 'p',
  pg_catalog.format_type(a.atttypid, a.atttypmod)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relpersistence = 'p' and c.oid = any ('{{{}}}'::oid[])
order by 4, pg_catalog.quote_ident(a.attname))sql";

Result<std::vector<VerifiedTable>> read_side(pg::Connection& db, const TableNames& tables,
                                             const Mapping& mapping, FloatForm form) {
  TRY(auto fenced, fenced_tables(db, tables));
  const auto oids = oid_list(mapping.moving(std::move(fenced)));
  TRY(const auto rows,
      db.query(fmt::format(kTables, form == FloatForm::kBytes ? kFloatBytes : "'%s'", oids)));
  std::vector<VerifiedTable> found;
  for (std::size_t row = 0; row < rows.size(); row++) {
    if (found.empty() || found.back().qualified != rows.text(row, 3)) {
      found.push_back({.schema = rows.str(row, 1),
                       .name = rows.str(row, 2),
                       .qualified = rows.str(row, 3),
                       .columns = {},
                       .is_partitioned = rows.boolean(row, 7),
                       .where = "",
                       .oid = rows.str(row, 0)});
    }
    if (rows.is_null(row, 4)) continue;  // a table without columns
    found.back().columns.push_back(
        {rows.str(row, 4), rows.str(row, 5), rows.str(row, 8), rows.boolean(row, 6)});
  }
  return found;
}

const VerifiedColumn* find_column(const VerifiedTable& table, std::string_view name) {
  const auto found = std::ranges::find(table.columns, name, &VerifiedColumn::name);
  return found == table.columns.end() ? nullptr : &*found;
}

// What nobody mapped has the same columns and the same key.
bool is_alike(const VerifiedTable& here, const VerifiedTable& there) {
  return std::ranges::equal(
      here.columns, there.columns, [](const VerifiedColumn& one, const VerifiedColumn& other) {
        return one.expression == other.expression && one.is_key == other.is_key;
      });
}

std::optional<VerifiedTable> counterpart(const VerifiedTable& active, const TableMapping& mapping,
                                         const std::vector<VerifiedTable>& there) {
  const auto found = std::ranges::find_if(there, [&](const VerifiedTable& table) {
    return table.schema == mapping.target_schema && table.name == mapping.target_table;
  });
  if (found == there.end()) return std::nullopt;
  auto passive = *found;
  passive.columns.clear();
  passive.where = mapping.where_there;
  for (const auto& column : active.columns) {
    const auto* other = find_column(*found, mapping.target_column(column.name));
    if (other == nullptr) return std::nullopt;
    passive.columns.push_back({other->name, other->expression, other->type, column.is_key});
  }
  return passive;
}

ComparedTable compared(VerifiedTable active, const Direction& direction,
                       const std::vector<VerifiedTable>& there) {
  const auto mapping = direction.mapping.of(active.schema, active.name);
  active.where = mapping.where;
  std::erase_if(active.columns,
                [&](const VerifiedColumn& column) { return !mapping.has_column(column.name); });
  auto passive = counterpart(active, mapping, there);
  const bool is_mapped = direction.mapping.find(active.schema, active.name) != nullptr;
  if (passive && !is_mapped) {
    const auto same = std::ranges::find(there, passive->qualified, &VerifiedTable::qualified);
    if (!is_alike(active, *same)) passive.reset();
  }
  return {std::move(active), std::move(passive)};
}

}  // namespace

std::vector<std::string> VerifiedTable::key() const {
  std::vector<std::string> quoted;
  for (const auto& column : columns) {
    if (column.is_key) quoted.push_back(pg::quote_ident(column.name));
  }
  return quoted;
}

std::string VerifiedTable::rows() const {
  return fmt::format("{}{} where ({})", is_partitioned ? "" : "only ", qualified,
                     where.empty() ? "true" : where);
}

FloatForm float_form(const pg::Connection& active, const pg::Connection& passive) {
  const bool same = (active.server_version() >= 120000) == (passive.server_version() >= 120000);
  return same ? FloatForm::kText : FloatForm::kBytes;
}

Result<void> with_float_form(SessionPairRef sides, FloatForm form,
                             const std::function<Result<void>()>& compare) {
  if (form == FloatForm::kText) return compare();
  for (auto* db : {&sides.active, &sides.passive}) TRY_VOID(db->exec("set extra_float_digits = 0"));
  auto compared = compare();
  for (auto* db : {&sides.active, &sides.passive}) {
    if (compared) compared = db->exec("set extra_float_digits = 3");
  }
  return compared;
}

Result<std::vector<ComparedTable>> compared_tables(SessionPairRef sides,
                                                   const Direction& direction) {
  const auto form = float_form(sides.active, sides.passive);
  TRY(auto here, read_side(sides.active, direction.from, direction.mapping, form));
  TRY(const auto there, read_side(sides.passive, direction.to, direction.mapping.reversed(), form));
  std::vector<ComparedTable> tables;
  for (auto& table : here) tables.push_back(compared(std::move(table), direction, there));
  return tables;
}

std::string key_condition(const VerifiedTable& table, const RowKeys& keys) {
  const auto columns = table.key();
  std::string sql;
  for (const auto& key : keys) {
    std::string one;
    for (std::size_t at = 0; at < columns.size() && at < key.size(); at++) {
      one +=
          fmt::format("{}{} = {}", at > 0 ? " and " : "", columns[at], pg::quote_literal(key[at]));
    }
    sql += fmt::format("{}({})", sql.empty() ? "" : " or ", one);
  }
  return sql;
}

}  // namespace banyan::replication
