-- What only a superuser makes, and what is said of the database itself.
comment on database sink is 'the sink''s database'; alter database sink set search_path = 'sink', public; alter database sink set extra_float_digits = 0;
alter database sink set log_min_duration_statement = '5min'; alter role clerk in database sink set statement_timeout = '77s';
revoke connect on database sink from public; grant connect, temporary on database sink to clerk; grant create on database sink to boss with grant option;
set search_path = sink, public;
create extension postgres_fdw schema sink; comment on extension pg_trgm is 'an own comment';
alter schema "Odd schema" owner to boss; alter table item owner to boss; alter function twice(int, text[]) owner to "Odd ""role"; alter type mood owner to clerk;
grant select on item to reader; grant insert (n), references (id) on item to clerk with grant option; grant usage on sequence counter to clerk;
grant execute on function twice(int, text[]) to clerk with grant option; grant usage on schema sink to reader; grant usage on language plpgsql to clerk;
grant all on nokey to "Odd ""role"; alter default privileges for role boss in schema sink grant select on tables to reader;
alter default privileges for role boss grant usage on schemas to clerk; create policy for_clerk on nokey to clerk using (a > 1);
alter large object 4711 owner to boss; grant select on large object 4711 to reader;
-- types and routines in C, and what indexes are made of
create type later; -- a shell
create type raw; create function raw_in(cstring) returns raw language internal immutable strict as 'textin';
create function raw_out(raw) returns cstring language internal immutable strict as 'textout'; create type raw (input = raw_in, output = raw_out, like = text, category = 'S', collatable = true);
create cast (raw as text) without function as implicit; create table of_raw(id int primary key, r raw); insert into of_raw values (1, 'raw');
create function leak() returns int leakproof language sql as 'select 1';
create operator family loose using hash; comment on operator family loose using hash is 'cross types';
alter operator family loose using hash add operator 1 = (int4, int8), function 1 (int4, int4) hashint4(int4);
create operator class mod_ops for type int4 using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 btint4cmp(int4, int4);
create index by_mod on nokey(a mod_ops);
create text search parser words (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, lextypes = prsd_lextype, headline = prsd_headline);
create text search template plain (init = dsimple_init, lexize = dsimple_lexize); create text search dictionary of_plain (template = plain);
create text search configuration of_words (parser = words); alter text search configuration of_words add mapping for asciiword with of_plain;
create access method heap2 type table handler heap_tableam_handler; create table in_heap2(id int primary key) using heap2; insert into in_heap2 values (1);
create function sink_handler() returns language_handler language c as '$libdir/plpgsql', 'plpgsql_call_handler';
create function sink_check(oid) returns void language c as '$libdir/plpgsql', 'plpgsql_validator';
create language sinklang handler sink_handler validator sink_check; comment on language sinklang is 'a tongue';
create function from_int(internal) returns internal language internal immutable strict as 'boolrecv';
create transform for int4 language sinklang (from sql with function from_int(internal)); comment on transform for int4 language sinklang is 'turns';
create function in_sinklang() returns int language sinklang as 'begin return 1; end';
-- foreign data
create foreign data wrapper elsewhere options (debug 'true'); create server near type 'x' version '2' foreign data wrapper elsewhere options (a 'b');
create server far foreign data wrapper postgres_fdw options (host 'nowhere', port '1'); grant usage on foreign server far to clerk; grant usage on foreign data wrapper elsewhere to boss with grant option;
create user mapping for clerk server far options (user 'x', password 'secret'); create user mapping for public server near;
create foreign table abroad(id int options (column_name 'key') not null, v text default 'x') server far options (schema_name 's', table_name 't'); comment on foreign table abroad is 'far';
alter server far owner to boss;
-- the rest
create function on_ddl() returns event_trigger language plpgsql as $$ begin end $$;
create event trigger sink_ddl on ddl_command_start when tag in ('CREATE TABLE', 'DROP TABLE') execute function on_ddl(); comment on event trigger sink_ddl is 'looks';
create event trigger sink_off on table_rewrite execute function on_ddl(); alter event trigger sink_off disable;
create table put_aside(id int primary key using index tablespace aside, v text) tablespace aside; create index on put_aside(v) tablespace aside; create index at_home on put_aside(id, v);
insert into put_aside select g, g from generate_series(1, 10) g;
security label for sinkhole on table item is 'secret'; security label for sinkhole on column item.n is 'it''s'; security label for sinkhole on function twice(int, text[]) is 'f';
security label for sinkhole on schema sink is 's'; security label for sinkhole on database sink is 'd'; security label for sinkhole on large object 4711 is 'l';
