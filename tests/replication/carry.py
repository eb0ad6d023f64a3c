"""Everything but rows: roles, grants, owners, comments, settings, large objects, unlogged tables, event
triggers, materialized views. There by a switch, and back by another. What cannot be carried is named by
preflight before anything starts."""
import sys

from steps import Pair, eventually

ROLES = """
create role reader nologin; create role clerk login connection limit 7 valid until '2099-01-01' in role reader;
create role boss login createdb; alter role clerk set work_mem = '5MB';
grant reader to boss with admin option;
"""
SETUP = """
comment on database shop is 'The shop''s database';
alter database shop set search_path = 'sales', "$user", public;
alter database shop set application_name = 'it''s';
alter role clerk in database shop set statement_timeout = '77s';
revoke connect on database shop from public; grant connect, temporary on database shop to clerk;
grant create on database shop to boss with grant option;
create schema sales authorization boss; comment on schema sales is 'What is sold';
set role boss;
create table sales.item(id serial primary key, v int check (v > 0), body text);
grant select on sales.item to reader; grant insert (v), update (body) on sales.item to clerk;
alter default privileges in schema sales grant select on tables to reader;
comment on column sales.item.v is 'number'; comment on constraint item_v_check on sales.item is 'positive';
create policy mine on sales.item to clerk using (v > 10); alter table sales.item enable row level security;
create function sales.twice(i int) returns int language sql security definer as 'select i * 2';
revoke all on function sales.twice from public; grant execute on function sales.twice to clerk;
create materialized view sales.total as select sum(v) from sales.item;
create materialized view sales.later as select 1 as one with no data;
reset role;
insert into sales.item(v) select g from generate_series(1, 100) g;
refresh materialized view sales.total;
create unlogged table sales.cache(k text primary key, v jsonb, n int generated always as (length(k)) stored);
create unlogged table sales.cache_line(k text references sales.cache, line int);
insert into sales.cache(k, v) select 'k' || g, '{}' from generate_series(1, 50) g;
insert into sales.cache_line select 'k1', g from generate_series(1, 9) g;
select lo_from_bytea(7001, '\\x00ff5c27'); select lo_from_bytea(7002, decode(repeat('abcd', 3000000), 'hex'));
select lo_from_bytea(7003, ''); select lo_from_bytea(7004, 'goes away');
comment on large object 7001 is 'a picture'; alter large object 7001 owner to boss; grant select on large object 7001 to reader;
create function audit() returns event_trigger language plpgsql as $$ begin end $$;
create event trigger audit on sql_drop execute function audit();
"""

QUESTIONS = {
    "roles": "select rolname, rolcanlogin, rolconnlimit, rolvaliduntil::text, rolcreatedb, rolconfig::text from pg_roles "
             "where rolname in ('reader', 'clerk', 'boss') order by 1",
    "members": "select roleid::regrole::text, member::regrole::text, admin_option from pg_auth_members where roleid::regrole::text = 'reader' order by 2",
    "database": "select shobj_description(oid, 'pg_database'), (select array_agg(x::text order by x::text) from unnest(datacl) x where x::text !~ '^postgres=')::text "
                "from pg_database where datname = 'shop'",
    "settings": "select setrole::regrole::text, setconfig::text from pg_db_role_setting where setdatabase = (select oid from pg_database where datname = 'shop') order by 1",
    "owners": "select relname, relowner::regrole::text, case when relkind <> 'S' then (select array_agg(x::text order by x::text) from unnest(relacl) x)::text end from pg_class where relnamespace = 'sales'::regnamespace order by 1",
    "columns": "select attname, attacl::text from pg_attribute where attrelid = 'sales.item'::regclass and attnum > 0 order by 1",
    "functions": "select proname, proowner::regrole::text, (select array_agg(x::text order by x::text) from unnest(proacl) x)::text from pg_proc where pronamespace = 'sales'::regnamespace",
    "defaults": "select defaclrole::regrole::text, defaclacl::text from pg_default_acl",
    "comments": "select col_description('sales.item'::regclass, 2), obj_description('sales'::regnamespace, 'pg_namespace')",
    "policies": "select policyname, roles::text, qual from pg_policies",
    "events": "select evtname, evtevent, evtenabled::text from pg_event_trigger where evtname !~ '^banyan'",
    "views": "select relname, relispopulated from pg_class where relkind = 'm' order by 1",
    "total": "select * from sales.total",
    "objects": "select m.oid, lomowner::regrole::text, (select array_agg(x::text order by x::text) from unnest(lomacl) x)::text, md5(lo_get(m.oid)), obj_description(m.oid, 'pg_largeobject') from pg_largeobject_metadata m order by 1",
    "cache": "select * from sales.cache order by k",
    "lines": "select * from sales.cache_line order by 1, 2",
    "persistence": "select relname, relpersistence::text from pg_class where relname ~ '^cache' order by 1",
}


def differences(pair, leave_out=()):
    found = {}
    for name, question in QUESTIONS.items():
        if name in leave_out:
            continue
        old, new = (server.run(question, "shop") for server in (pair.old, pair.new))
        if old != new or old is None:
            found[name] = (old, new)
    return found


def test_all_is_carried(pair):
    pair.start()
    pair.wait_following()
    assert not differences(pair, ("cache", "lines")), differences(pair, ("cache", "lines"))
    pair.old.run("select lo_put(7001, 1, 'x'); select lo_unlink(7004); select lo_from_bytea(7005, 'late'); "
                 "delete from sales.cache where k = 'k9'; insert into sales.cache(k) values ('late')", "shop")
    pair.switch()
    assert not differences(pair), differences(pair)
    print("ok   carried there")
    pair.new.run("select lo_put(7002, 5, 'back'); select lo_unlink(7005); truncate sales.cache, sales.cache_line; "
                 "insert into sales.cache(k) values ('only')", "shop")
    pair.switch()
    assert not differences(pair), differences(pair)
    print("ok   carried back")


def test_an_aborted_pause_harms_nobody(pair):
    epoch = pair.next_epoch()
    pair.call("act.prepare")
    pair.fence(epoch)
    pair.call("act.await", epoch=epoch, timeout_ms=60000)
    report = pair.call("act.sequences")
    assert report["large_objects"] == 3 and report["unlogged_tables"] == 2, report
    pair.call("act.abort", epoch=epoch)
    pair.old.run("insert into sales.cache(k) values ('after')", "shop")
    pair.switch()
    assert not differences(pair), differences(pair)
    print("ok   an aborted pause")


def findings(pair, **config):
    checks = pair.call("preflight", config={"source": pair.old.url("shop"), "target": pair.new.url("shop"),
                                            "tables": "all", **config})["checks"]
    return {check["id"]: check for check in checks}


def test_preflight_names_what_is_not(pair):
    before = findings(pair)
    assert "clerk" in before["carry.roles"]["detail"] and before["carry.roles"]["severity"] == "info", before["carry.roles"]
    for name in ("carry.owners", "carry.database", "carry.event_triggers", "carry.large_objects", "carry.unlogged",
                 "carry.functions", "carry.extensions", "carry.target_large_objects", "carry.collations", "carry.locale",
                 "carry.superuser_objects", "carry.publications", "carry.pg_dump", "carry.extension_rows", "carry.settings",
                 "carry.user_mappings", "carry.subscriptions", "carry.tablespaces", "carry.security_labels"):
        assert before[name]["ok"], before[name]
    pair.new.psql("create role weak login replication; create database poor owner weak")
    pair.new.run("create database plain", "postgres")
    weak = findings(pair, target=pair.new.url("poor", "weak"))
    assert weak["carry.roles"]["severity"] == "should" and "create role" in weak["carry.roles"]["fix_sql"], weak["carry.roles"]
    for name in ("carry.owners", "carry.event_triggers"):
        assert not weak[name]["ok"], weak[name]
    assert not findings(pair, target=pair.new.url("plain", "weak"))["carry.database"]["ok"]
    pair.new.run("select lo_create(5)", "shop")
    pair.old.psql("create publication other; create unlogged table huge as select repeat(md5(g::text), 40) t "
                  "from generate_series(1, 60000) g; create function leak() returns int leakproof language sql as 'select 1'; "
                  "create collation \"de_XX.utf8\" from \"C\"", "shop")
    after = findings(pair, target=pair.new.url("poor", "weak"))
    for name in ("carry.publications", "carry.unlogged", "carry.functions"):
        assert not after[name]["ok"] and "could not be asked" not in after[name]["detail"], after[name]
    assert not findings(pair)["carry.target_large_objects"]["ok"]
    assert not findings(pair, tables=["sales.item"])["carry.large_objects"]["ok"]
    pair.old.psql("drop publication other; drop table huge; drop function leak()", "shop")
    pair.new.psql(findings(pair)["carry.target_large_objects"]["fix_sql"], "shop")
    assert findings(pair)["carry.target_large_objects"]["ok"]
    print("ok   preflight names what is not carried")


def test_without_rights_the_rest_is_carried(pair):
    """Our role on the target may own nothing but its own: owners and grants are left out, rows are not."""
    pair.old.psql("drop event trigger audit; create database small", "shop")
    pair.old.psql("create role hidden; create table t(id int primary key); insert into t select generate_series(1, 50); "
                  "alter table t owner to hidden", "small")
    pair.new.run("grant set on parameter session_replication_role to weak", "postgres")
    pair.role.call("start", name="small", config={
        "source": pair.old.url("small"), "target": pair.new.url("poor", "weak"), "tables": "all"})
    eventually(lambda: pair.role.call("status", name="small")["state"] == "following", "following")
    assert pair.new.value("select count(*) from t", "poor") == 50
    assert pair.new.value("select relowner::regrole::text from pg_class where relname = 't'", "poor") == "weak"
    print("ok   without rights")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(ROLES, "shop")
        pair.old.psql(SETUP, "shop")
        test_preflight_names_what_is_not(pair)
        test_all_is_carried(pair)
        test_an_aborted_pause_harms_nobody(pair)
        test_without_rights_the_rest_is_carried(pair)


if __name__ == "__main__":
    main()
