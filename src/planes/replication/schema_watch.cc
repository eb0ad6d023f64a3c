#include "planes/replication/schema_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.h"

namespace banyan::replication {
namespace {

// One row per table, column, label and index: kind, name, what must be equal, how to add it. A
// column that comes with its parent's needs nothing of its own.
constexpr std::string_view kShape = R"sql(
with moved as (select c.oid, c.relkind, n.nspname || '.' || c.relname as display,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) as qualified
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid = any ('{{{0}}}'::oid[]))
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

struct Shape {
  std::string kind;
  std::string definition;
  std::string repair;
  std::size_t rank = 0;  // columns in their order
};
using Shapes = std::map<std::pair<int, std::string>, Shape>;

// Of the tables that nobody mapped.
Result<Shapes> read_shapes(pg::Connection& db, const TableNames& tables, const Mapping& mapping) {
  TRY(auto moved, fenced_tables(db, tables));
  std::erase_if(moved, [&](const FencedTable& table) {
    const auto name = parse_table_name(table.qualified);
    return mapping.find(name.schema, name.table) != nullptr || mapping.has_root_of(table);
  });
  const bool knows_generated = db.server_version() >= 120000;
  const bool knows_missing = db.server_version() >= 110000;
  TRY(const auto rows,
      db.query(fmt::format(kShape, oid_list(moved),
                           knows_generated ? "a.attgenerated <> ''" : "false",
                           knows_missing ? "v.atthasmissing" : "false",
                           knows_missing ? "(v.attmissingval::text::text[])[1]" : "null::text")));
  Shapes shapes;
  for (std::size_t row = 0; row < rows.size(); row++) {
    shapes[{static_cast<int>(rows.integer(row, 0)), rows.str(row, 2)}] = {
        rows.str(row, 1), rows.str(row, 3), rows.str(row, 4), row};
  }
  return shapes;
}

bool has_table_of(const std::vector<SchemaDifference>& found, const std::string& object) {
  return std::ranges::any_of(found, [&](const SchemaDifference& difference) {
    return difference.kind == "table" && object.starts_with(difference.object + ".");
  });
}

constexpr std::string_view kDdlLog = R"sql(
create table if not exists banyan.ddl_log(
  id bigserial primary key, at timestamptz not null default clock_timestamp(), who text not null,
  application text, tag text not null, object text, statement text);
create or replace function banyan.note_ddl() returns event_trigger language plpgsql
security definer set search_path = pg_catalog as $ddl$
declare
  touched record;
begin
  if current_setting('application_name', true) like 'banyan%' then return; end if;
  for touched in select c.object_identity, c.command_tag, c.schema_name
      from pg_event_trigger_ddl_commands() c where c.schema_name is distinct from 'banyan'
      and c.schema_name is distinct from 'pg_temp' loop
    if {} and current_setting('banyan.allow_ddl', true) is distinct from 'on'
        and touched.command_tag ~ '^(CREATE|ALTER) (TABLE|TYPE|DOMAIN)' then
      raise exception 'schema changes wait: the database is being moved (%)',
        touched.object_identity
        using errcode = '25006', hint = 'To do it all the same: set banyan.allow_ddl = on';
    end if;
    insert into banyan.ddl_log(who, application, tag, object, statement) values (session_user,
      current_setting('application_name', true), touched.command_tag, touched.object_identity,
      left(current_query(), 4000));
  end loop;
end $ddl$;
create or replace function banyan.note_drop() returns event_trigger language plpgsql
security definer set search_path = pg_catalog as $ddl$
declare
  gone record;
begin
  if current_setting('application_name', true) like 'banyan%' then return; end if;
  for gone in select o.object_identity, o.object_type from pg_event_trigger_dropped_objects() o
      where o.original and not o.is_temporary and o.schema_name is distinct from 'banyan' loop
    if {} and current_setting('banyan.allow_ddl', true) is distinct from 'on'
        and gone.object_type in ('table', 'table column', 'type') then
      raise exception 'schema changes wait: the database is being moved (%)', gone.object_identity
        using errcode = '25006', hint = 'To do it all the same: set banyan.allow_ddl = on';
    end if;
    insert into banyan.ddl_log(who, application, tag, object, statement) values (session_user,
      current_setting('application_name', true), tg_tag, gone.object_identity,
      left(current_query(), 4000));
  end loop;
end $ddl$;
drop event trigger if exists banyan_ddl; drop event trigger if exists banyan_drop;
create event trigger banyan_ddl on ddl_command_end execute procedure banyan.note_ddl();
create event trigger banyan_drop on sql_drop execute procedure banyan.note_drop()
)sql";

}  // namespace

Result<DdlPolicy> parse_ddl_policy(std::string_view name) {
  if (name == "stop") return DdlPolicy::kStop;
  if (name == "freeze") return DdlPolicy::kFreeze;
  if (name == "apply_safe") return DdlPolicy::kApplySafe;
  return failure(Code::kInvalidArgument,
                 fmt::format("ddl is stop, freeze or apply_safe, not {}", name));
}

Result<std::vector<SchemaDifference>> compare_schemas(pg::Connection& source,
                                                      pg::Connection& target,
                                                      const Direction& direction) {
  TRY(const auto here, read_shapes(source, direction.from, direction.mapping));
  TRY(const auto there, read_shapes(target, direction.to, direction.mapping.reversed()));
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

Result<void> log_ddl(pg::Connection& source, DdlPolicy policy) {
  const bool may = source.parameter("is_superuser") == "on";
  if (!may && policy != DdlPolicy::kFreeze) return {};
  if (!may) {
    return std::unexpected(
        Error(Code::kConflict, "ddl: freeze needs a superuser on the source, for an event trigger")
            .with_remedy("1. Connect as a superuser. 2. Choose ddl: stop or apply_safe."));
  }
  const auto* freezes = policy == DdlPolicy::kFreeze ? "true" : "false";
  return with_context(source.exec(fmt::format(kDdlLog, freezes, freezes)),
                      "keeping a log of schema changes");
}

std::string last_ddl(pg::Connection& source) {
  auto known = source.query("select pg_catalog.to_regclass('banyan.ddl_log')");
  if (!known || known->is_null(0, 0)) return "";
  auto rows = source.query(
      "select who || ' (' || coalesce(nullif(application, ''), '?') || '): ' || "
      "coalesce(statement, tag) from banyan.ddl_log order by id desc limit 3");
  std::string text;
  for (std::size_t row = 0; rows && row < rows->size(); row++) {
    text += (row > 0 ? "; " : "") + rows->str(row, 0);
  }
  return text;
}

}  // namespace banyan::replication
