#include "planes/replication/ddl_log.h"

#include <fmt/format.h>

#include "planes/replication/roles.h"
#include "planes/replication/schema_watch.h"

namespace banyan::replication {
namespace {

// {0}: whether statements are refused. {1}: the shape of the table `touched`.
constexpr std::string_view kDdlLog = R"sql(
set client_min_messages = warning;
create table if not exists banyan.ddl_log(
  id bigserial primary key, at timestamptz not null default clock_timestamp(), who text not null,
  application text, tag text not null, object text, statement text);
alter table banyan.ddl_log add column if not exists relation text,
  add column if not exists shape text;
create or replace function banyan.shape_of(touched oid) returns text language plpgsql
set search_path = pg_catalog as $ddl$
begin
  return (select json_agg(json_build_array(s.rank, s.kind, s.object, s.definition, s.repair))
          from ({1}) s(rank, kind, object, definition, repair, place));
exception when others then return null;  -- the statement itself must not fail of it
end $ddl$;
create or replace function banyan.tables_of(class oid, touched oid)
returns table(id oid, relation text) language sql set search_path = pg_catalog as $ddl$
  select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and c.relpersistence = 'p' and case class
    when 'pg_class'::regclass then c.oid = touched
      or c.oid = (select x.indrelid from pg_index x where x.indexrelid = touched)
    when 'pg_type'::regclass then exists (select 1 from pg_attribute a
      join pg_type t on t.oid = a.atttypid where a.attrelid = c.oid and a.attnum > 0
      and not a.attisdropped and touched in (t.oid, t.typelem))
    else false end
$ddl$;
create or replace function banyan.is_frozen() returns boolean language sql
set search_path = pg_catalog as $ddl$
  select current_setting('banyan.allow_ddl', true) is distinct from 'on'
    and exists (select 1 from banyan.migration m where m.state in ('running', 'fenced'))
$ddl$;
create or replace function banyan.note_ddl() returns event_trigger language plpgsql
security definer set search_path = pg_catalog as $ddl$
declare
  touched record;
begin
  if current_setting('application_name', true) like 'banyan%' then return; end if;
  for touched in select c.classid, c.objid, c.object_identity, c.command_tag
      from pg_event_trigger_ddl_commands() c where c.schema_name is distinct from 'banyan'
      and c.schema_name is distinct from 'pg_temp' loop
    if {0} and banyan.is_frozen()
        and touched.command_tag ~ '^(CREATE|ALTER) (TABLE|TYPE|DOMAIN)' then
      raise exception 'schema changes wait: the database is being moved (%)',
        touched.object_identity
        using errcode = '25006', hint = 'To do it all the same: set banyan.allow_ddl = on';
    end if;
    insert into banyan.ddl_log(who, application, tag, object, statement, relation, shape)
    select session_user, current_setting('application_name', true), touched.command_tag,
      touched.object_identity, left(current_query(), 4000), t.relation, banyan.shape_of(t.id)
    from (select) once left join banyan.tables_of(touched.classid, touched.objid) t on true;
  end loop;
end $ddl$;
create or replace function banyan.note_drop() returns event_trigger language plpgsql
security definer set search_path = pg_catalog as $ddl$
declare
  gone record;
  own text;
begin
  if current_setting('application_name', true) like 'banyan%' then return; end if;
  for gone in select * from pg_event_trigger_dropped_objects() o
      where (o.original or o.object_type in ('table', 'table column'))
      and not o.is_temporary and o.schema_name is distinct from 'banyan' loop
    if {0} and banyan.is_frozen() and gone.object_type in ('table', 'table column', 'type') then
      raise exception 'schema changes wait: the database is being moved (%)', gone.object_identity
        using errcode = '25006', hint = 'To do it all the same: set banyan.allow_ddl = on';
    end if;
    own := case gone.object_type when 'table' then gone.object_identity
      when 'table column' then format('%I.%I', gone.address_names[1], gone.address_names[2]) end;
    insert into banyan.ddl_log(who, application, tag, object, statement, relation, shape)
    values (session_user, current_setting('application_name', true), tg_tag, gone.object_identity,
      left(current_query(), 4000), own, case when own is not null then
        coalesce(banyan.shape_of(to_regclass(own)), '[]') end);
  end loop;
end $ddl$;
drop event trigger if exists banyan_ddl; drop event trigger if exists banyan_drop;
create event trigger banyan_ddl on ddl_command_end execute procedure banyan.note_ddl();
create event trigger banyan_drop on sql_drop execute procedure banyan.note_drop();
alter event trigger banyan_ddl enable always; alter event trigger banyan_drop enable always;
reset client_min_messages
)sql";

}  // namespace

Result<DdlPolicy> parse_ddl_policy(std::string_view name) {
  if (name == "stop") return DdlPolicy::kStop;
  if (name == "freeze") return DdlPolicy::kFreeze;
  if (name == "apply_safe") return DdlPolicy::kApplySafe;
  return failure(Code::kInvalidArgument,
                 fmt::format("ddl is stop, freeze or apply_safe, not {}", name));
}

DdlPolicy permitted(const pg::Connection& db, DdlPolicy policy) {
  const bool is_wish = policy == DdlPolicy::kFreeze && !is_superuser(db);
  return is_wish ? DdlPolicy::kStop : policy;
}

Result<void> log_ddl(pg::Connection& db, DdlPolicy policy) {
  if (permitted(db, policy) != policy) {
    return std::unexpected(
        Error(Code::kConflict, "ddl: freeze needs a superuser on the source, for an event trigger")
            .with_remedy("1. Connect as a superuser. 2. Choose ddl: stop or apply_safe."));
  }
  if (!is_superuser(db)) return {};
  const auto shape = shape_sql(db.server_version(), "c.oid = touched");
  const auto* freezes = policy == DdlPolicy::kFreeze ? "true" : "false";
  return with_context(db.exec(fmt::format(kDdlLog, freezes, shape)),
                      "keeping a log of schema changes");
}

Result<bool> is_ddl_in_stream(pg::Connection& source, const std::string& publication) {
  TRY(const auto rows,
      source.query("select 1 from pg_catalog.pg_publication_tables p, pg_catalog.pg_event_trigger "
                   "e where p.pubname = $1 and p.schemaname = 'banyan' and p.tablename = 'ddl_log' "
                   "and e.evtname = 'banyan_ddl' and e.evtenabled = 'A'",
                   {publication}));
  return !rows.empty();
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
