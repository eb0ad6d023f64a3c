#include "planes/replication/control_schema.h"

#include <fmt/format.h>

#include <random>

namespace banyan::replication {
namespace {

// Every statement can be run again. The advisory lock serialises two coordinators that start at
// once: "if not exists" alone races in the catalogs.
constexpr std::string_view kSchema = R"sql(
begin;
select pg_advisory_xact_lock(hashtext('banyan.schema'));
set local client_min_messages = warning;
create schema if not exists banyan;
create table if not exists banyan.migration(
  name text primary key, side text not null,
  state text not null check (state in ('running', 'fenced', 'handed_over', 'passive')),
  epoch bigint not null, open_lsn pg_lsn, config text,
  changed_at timestamptz not null default clock_timestamp());
create table if not exists banyan.secret(name text primary key, nonce text not null);
revoke all on banyan.secret from public;
create table if not exists banyan.barrier(
  name text not null, epoch bigint not null, at timestamptz not null default clock_timestamp(),
  primary key (name, epoch));
create table if not exists banyan.heartbeat(
  name text not null, side text not null, at timestamptz not null default clock_timestamp(),
  primary key (name, side));
create table if not exists banyan.progress(
  stream text not null, part int not null default 0, lsn pg_lsn not null, xid bigint,
  epoch bigint not null, barrier_epoch bigint not null default 0,
  changed_at timestamptz not null default clock_timestamp(), primary key (stream, part));
create table if not exists banyan.applied_chunks(
  stream text not null, table_name text not null, chunk int not null, lo text, hi text,
  snapshot text not null, rows bigint not null, key_column text, key_order text,
  primary key (stream, table_name, chunk));
create table if not exists banyan.refetched_rows(
  stream text not null, table_name text not null, key text not null, snapshot text not null,
  primary key (stream, table_name, key));
create table if not exists banyan.relation_map(
  stream text not null, source_table text not null, target_table text not null,
  primary key (stream, source_table));
create table if not exists banyan.shared_slot(
  share text primary key, slot text not null, system_id text not null, timeline text not null);
create table if not exists banyan.shared_table(
  share text not null, migration text not null, table_name text not null, entry text not null,
  primary key (share, migration, table_name));
create table if not exists banyan.sequence_part(
  sequence text not null, name text not null, part int not null,
  primary key (sequence, part), unique (sequence, name));
create table if not exists banyan.sequence_rights(
  name text not null, sequence text not null, grantee text not null, privilege text not null,
  is_grantable boolean not null);
create or replace function banyan.may_pass(migration text) returns boolean language sql
security definer set search_path = pg_catalog as $pass$
  select exists (select 1 from banyan.secret s where s.name = migration
                 and s.nonce = current_setting('banyan.apply', true))
$pass$;
create or replace function banyan.closed() returns trigger language plpgsql security definer
set search_path = pg_catalog as $closed$
declare
  closed text := format('STATEMENT %s.%s', tg_table_schema, tg_table_name);
begin
  if banyan.may_pass(tg_argv[0]) then return null; end if;
  if tg_table_schema = 'banyan' then closed := current_setting('banyan.writes_to', true); end if;
  raise exception '% is closed for writing: its data is moving or has moved',
    replace(replace(closed, 'STATEMENT ', 'table '), 'ROW ', 'this row of table ')
    using errcode = '25006',
    hint = 'Migration ' || tg_argv[0] || ' of Banyan decides which database is written.';
end $closed$;
grant usage on schema banyan to public;
commit
)sql";

// Closed where the row says that applications do not write. A gate that is there stands as it does.
// The fence's function runs at every write while an act is near: so it has a plan of its own, which
// is kept, and no SET, which would cost half as much again. Hence no operator in it: these would be
// found by the search path of whoever writes.
constexpr std::string_view kGate = R"sql(
do $gate$ begin
  if pg_catalog.to_regclass({0}) is null then
    create table {1}();
    create trigger banyan_gate before insert or update or delete or truncate on {1}
      for each statement execute procedure banyan.closed({2});
    if exists (select 1 from banyan.migration where name = {2} and state = 'running') then
      alter table {1} disable trigger banyan_gate;
    else
      alter table {1} enable always trigger banyan_gate;
    end if;
  end if;
  create or replace function {3}() returns trigger language plpgsql security definer as $fence$
  begin
    if pg_catalog.current_setting('banyan.apply', true) is not null then
      if banyan.may_pass({2}) then return null; end if;
    end if;
    perform pg_catalog.set_config('banyan.writes_to',
      pg_catalog.format('%s %s.%s', tg_level, tg_table_schema, tg_table_name), true);
    delete from {1} where false;
    return null;
  end $fence$;
end $gate$
)sql";

std::string random_nonce() {
  std::random_device device;
  std::string nonce;
  for (int word = 0; word < 4; word++) nonce += fmt::format("{:08x}", device());
  return nonce;
}

// Relations through which a row of the listed tables can be written.
constexpr std::string_view kMovedTables = R"sql(
with recursive moved(oid) as (
    select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence <> 't' and {}
  union
    select case when i.inhparent = m.oid then i.inhrelid else i.inhparent end
    from moved m join pg_catalog.pg_inherits i on m.oid in (i.inhparent, i.inhrelid))
select c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       (select t.tgenabled from pg_catalog.pg_trigger t
        where t.tgrelid = c.oid and t.tgname = 'banyan_fence'), c.relkind = 'p', {}
from moved m join pg_catalog.pg_class c on c.oid = m.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') order by c.oid
)sql";

// The topmost table above a partition.
constexpr std::string_view kRoot =
    "case when c.relispartition then "
    "(select pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(r.relname) from "
    "pg_catalog.pg_class r join pg_catalog.pg_namespace s on s.oid = r.relnamespace "
    "where r.oid = pg_catalog.pg_partition_root(c.oid)) end";

constexpr std::string_view kEveryUserTable =
    "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'banyan') and not exists "
    "(select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass "
    "and d.objid = c.oid and d.deptype = 'e')";

std::string listed_tables(const TableNames& tables) {
  std::string list;
  for (const auto& table : tables) {
    if (!list.empty()) list += ", ";
    list += pg::quote_literal(table.contains('.') ? table : "public." + table);
  }
  return fmt::format("c.oid = any (array[{}]::pg_catalog.regclass[])", list);
}

}  // namespace

std::string_view side_name(SideName side) {
  return side == SideName::kOld ? "old" : "new";
}

Result<void> create_control_schema(pg::Connection& db, const std::string& migration,
                                   SideName side) {
  if (auto made = db.exec(std::string(kSchema)); !made) {
    (void)db.exec("rollback");  // the first failure is the one to report
    return with_context(std::move(made), "creating schema banyan");
  }
  const std::string first_state = side == SideName::kOld ? "running" : "passive";
  TRY_VOID(
      db.query("insert into banyan.migration(name, side, state, epoch) values ($1, $2, $3, 0) "
               "on conflict (name) do nothing",
               {migration, std::string(side_name(side)), first_state}));
  TRY_VOID(db.query("insert into banyan.secret values ($1, $2) on conflict (name) do nothing",
                    {migration, random_nonce()}));
  const auto gate = gate_of(migration);
  TRY_VOID(db.exec(fmt::format(kGate, pg::quote_literal(gate), gate, pg::quote_literal(migration),
                               fence_of(migration))));
  // Both rows exist on both sides before any slot does, so later heartbeats are plain updates.
  TRY_VOID(
      db.query("insert into banyan.heartbeat(name, side) values ($1, 'old'), ($1, 'new') "
               "on conflict do nothing",
               {migration}));
  return {};
}

Result<std::vector<FencedTable>> fenced_tables(pg::Connection& db, const TableNames& tables) {
  const auto which = tables.empty() ? std::string(kEveryUserTable) : listed_tables(tables);
  const auto root = db.server_version() >= 130000 ? kRoot : "null";
  TRY(const auto rows, db.query(fmt::format(kMovedTables, which, root)));
  std::vector<FencedTable> found;
  for (std::size_t row = 0; row < rows.size(); row++) {
    found.push_back({.oid = static_cast<std::uint32_t>(rows.integer(row, 0)),
                     .qualified = rows.str(row, 1),
                     .fence = rows.is_null(row, 2) ? '\0' : rows.text(row, 2).front(),
                     .is_partitioned = rows.boolean(row, 3),
                     .root = rows.is_null(row, 4) ? "" : rows.str(row, 4)});
  }
  return found;
}

std::string oid_list(const std::vector<FencedTable>& tables) {
  std::string list;
  for (const auto& table : tables) list += fmt::format("{}{}", list.empty() ? "" : ",", table.oid);
  return list;
}

std::string gate_of(const std::string& migration) {
  return "banyan." + pg::quote_ident("gate of " + migration);
}

std::string fence_of(const std::string& migration) {
  return "banyan." + pg::quote_ident("fence of " + migration);
}

Result<void> drop_control_schema(pg::Connection& db, const std::string& migration) {
  // Whatever still asks the gate here asks no more.
  TRY_VOID(
      db.exec(fmt::format("set client_min_messages = warning; "
                          "drop function if exists {}() cascade; drop table if exists {}",
                          fence_of(migration), gate_of(migration))));
  TRY_VOID(db.query("delete from banyan.migration where name = $1", {migration}));
  TRY(const auto made, db.query("select to_regclass('banyan.made')"));
  if (!made.is_null(0, 0))
    TRY_VOID(
        db.query("delete from banyan.made where migration = $1 or strpos(migration, $1 || '/') = 1",
                 {migration}));
  TRY(const auto left, db.query("select 1 from banyan.migration"));
  if (!left.empty()) return {};
  return db.exec("drop schema banyan cascade");
}

}  // namespace banyan::replication
