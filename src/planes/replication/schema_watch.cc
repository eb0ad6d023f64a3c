#include "planes/replication/schema_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace banyan::replication {
namespace {

// One row per table, column, label and index: kind, name, what must be equal, how to add it. A
// column that comes with its parent's needs nothing of its own. {0}: which tables.
constexpr std::string_view kShape = R"sql(
with moved as (select c.oid, c.relkind, n.nspname || '.' || c.relname as display,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) as qualified
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where {0})
select 1, 'table', display, relkind::text, qualified, 0 from moved
union all
select 3, 'column', m.display || '.' || a.attname,
  pg_catalog.format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else ''
    end || case when {1} then ' generated' else '' end || a.attidentity::text,
  case when a.attinhcount > 0 then 'select'
    when a.attidentity <> '' then ''
    when {1} then fmt || ' generated always as (' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
      || ') stored'
    when missing is not null then fmt || ' default ' || quote_literal(missing) || '::' ||
      pg_catalog.format_type(a.atttypid, a.atttypmod)
      || case when a.attnotnull then ' not null' else '' end
      || coalesce('; alter table ' || m.qualified || ' alter column ' || quote_ident(a.attname) ||
        ' set default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
    when d.adbin is null and not a.attnotnull then fmt
    else '' end, a.attnum
from moved m join pg_catalog.pg_attribute a on a.attrelid = m.oid and a.attnum > 0
  and not a.attisdropped
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
cross join lateral (select 'alter table ' || m.qualified || ' add column ' || quote_ident(a.attname)
  || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || coalesce((select ' collate ' ||
    quote_ident(cn.nspname) || '.' || quote_ident(co.collname) from pg_catalog.pg_collation co
    join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace join pg_catalog.pg_type ty
    on ty.oid = a.atttypid where co.oid = a.attcollation and a.attcollation <> ty.typcollation), '')
  as fmt, (select {3} from pg_catalog.pg_attribute v where v.attname = a.attname and {2}
    and (v.attrelid = a.attrelid or v.attrelid in (select i.inhrelid from pg_catalog.pg_inherits i
      where i.inhparent = a.attrelid)) limit 1) as missing) f
union all
select 2, 'label', pg_catalog.format_type(e.enumtypid, null) || ' ' || e.enumlabel,
  '',
  'alter type ' || pg_catalog.format_type(e.enumtypid, null) || ' add value if not exists ' ||
  quote_literal(e.enumlabel) || coalesce(' after ' || quote_literal((select p.enumlabel from
    pg_catalog.pg_enum p where p.enumtypid = e.enumtypid and p.enumsortorder < e.enumsortorder
    order by p.enumsortorder desc limit 1)),
    coalesce(' before ' || quote_literal((select p.enumlabel
    from pg_catalog.pg_enum p where p.enumtypid = e.enumtypid and p.enumsortorder > e.enumsortorder
    order by p.enumsortorder limit 1)), '')), 0
from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace where exists (select 1 from moved m
  join pg_catalog.pg_attribute a on a.attrelid = m.oid
  where a.atttypid in (e.enumtypid, t.typarray))
union all
select 4, 'index', n.nspname || '.' || i.relname, '', case when exists (select 1 from
    pg_catalog.pg_constraint k where k.conindid = x.indexrelid and k.contype in ('p', 'u', 'x'))
  then '' else pg_catalog.pg_get_indexdef(x.indexrelid) end, 0
from moved m join pg_catalog.pg_index x on x.indrelid = m.oid join pg_catalog.pg_class i
  on i.oid = x.indexrelid join pg_catalog.pg_namespace n on n.oid = i.relnamespace
where x.indisvalid and x.indislive and not i.relispartition
order by 1, 6, 3)sql";

// Objects of the shape of the tables `which` names.
Result<Shapes> read_shapes(pg::Connection& db, const std::string& which) {
  TRY(const auto rows, db.query(shape_sql(db.server_version(), which)));
  Shapes shapes;
  for (std::size_t row = 0; row < rows.size(); row++) {
    shapes[{static_cast<int>(rows.integer(row, 0)), rows.str(row, 2)}] = {
        rows.str(row, 1), rows.str(row, 3), rows.str(row, 4), row};
  }
  return shapes;
}

// Of the tables that nobody mapped.
Result<Shapes> read_shapes(pg::Connection& db, const TableNames& tables, const Mapping& mapping) {
  TRY(auto moved, fenced_tables(db, tables));
  std::erase_if(moved, [&](const FencedTable& table) { return is_mapped(table, mapping); });
  return read_shapes(db, fmt::format("c.oid = any ('{{{}}}'::oid[])", oid_list(moved)));
}

bool has_table_of(const std::vector<SchemaDifference>& found, const std::string& object) {
  return std::ranges::any_of(found, [&](const SchemaDifference& difference) {
    return difference.kind == "table" && object.starts_with(difference.object + ".");
  });
}

}  // namespace

std::string shape_sql(int server_version, const std::string& which) {
  const bool knows_generated = server_version >= 120000;
  const bool knows_missing = server_version >= 110000;
  return fmt::format(kShape, which, knows_generated ? "a.attgenerated <> ''" : "false",
                     knows_missing ? "v.atthasmissing" : "false",
                     knows_missing ? "(v.attmissingval::text::text[])[1]" : "null::text");
}

Result<Shapes> read_shape(pg::Connection& db, const std::string& table) {
  return read_shapes(db,
                     fmt::format("c.oid = pg_catalog.to_regclass({})", pg::quote_literal(table)));
}

Result<Shapes> parse_shape(std::string_view json) {
  const auto rows = nlohmann::json::parse(json, nullptr, false);
  if (!rows.is_array()) return failure(Code::kCorruption, "a table's shape is not readable");
  Shapes shapes;
  for (const auto& row : rows) {
    if (!row.is_array() || row.size() < 5 || !row[0].is_number_integer()) {
      return failure(Code::kCorruption, "a table's shape is not readable");
    }
    const auto text = [&](std::size_t at) {
      return row[at].is_string() ? std::string(row[at]) : "";
    };
    shapes[{row[0].get<int>(), text(2)}] = {text(1), text(3), text(4), shapes.size()};
  }
  return shapes;
}

bool is_mapped(const FencedTable& table, const Mapping& mapping) {
  const auto name = parse_table_name(table.qualified);
  return mapping.find(name.schema, name.table) != nullptr || mapping.has_root_of(table);
}

std::vector<SchemaDifference> compare_shapes(const Shapes& here, const Shapes& there) {
  std::vector<SchemaDifference> found;
  for (const auto& [key, shape] : here) {
    const auto& object = key.second;
    if (has_table_of(found, object)) continue;
    const auto other = there.find(key);
    if (other == there.end()) {
      found.push_back({shape.kind, object, "is missing on the other side", shape.repair});
    } else if (other->second.definition != shape.definition) {
      found.push_back(
          {shape.kind, object,
           fmt::format("is \"{}\" and was \"{}\"", shape.definition, other->second.definition),
           ""});
    }
  }
  std::ranges::sort(found, {}, [&](const SchemaDifference& one) {
    return std::ranges::find_if(here,
                                [&](const auto& entry) {
                                  return entry.second.kind == one.kind &&
                                         entry.first.second == one.object;
                                })
        ->second.rank;
  });
  for (const auto& [key, shape] : there) {
    const bool counts = shape.kind == "table" || shape.kind == "column";
    if (!counts || here.contains(key)) continue;
    if (has_table_of(found, key.second)) continue;
    found.push_back({shape.kind, key.second, "was dropped, or has another name now", ""});
  }
  return found;
}

Result<std::vector<SchemaDifference>> compare_schemas(pg::Connection& source,
                                                      pg::Connection& target,
                                                      const Direction& direction) {
  TRY(const auto here, read_shapes(source, direction.from, direction.mapping));
  TRY(const auto there, read_shapes(target, direction.to, direction.mapping.reversed()));
  return compare_shapes(here, there);
}

std::string list_of(const std::vector<SchemaDifference>& found) {
  std::string list;
  for (const auto& one : found) {
    list += fmt::format("{}{} {} {}", list.empty() ? "" : "; ", one.kind, one.object, one.what);
  }
  return list;
}

std::string ways_out(const std::vector<SchemaDifference>& found) {
  std::string repairs;
  for (const auto& one : found) {
    if (one.is_repeatable()) repairs += one.repair + "; ";
  }
  return fmt::format(
      "1. Make the same change on the other side{}{}, then start the migration again. 2. Undo it, "
      "then start again. 3. With ddl: apply_safe in the migration's configuration what can be "
      "repeated is repeated.",
      repairs.empty() ? "" : ": ", repairs);
}

}  // namespace banyan::replication
