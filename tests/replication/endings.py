"""complete and cancel leave nothing of ours behind but a closed old side, and stay ended after a restart."""
import sys

import psycopg2

from steps import Pair, RpcError, eventually


def is_closed(server):
    try:
        server.run("insert into t values (1000, 1)", "shop")
        server.run("delete from t where id = 1000", "shop")
        return False
    except psycopg2.errors.ReadOnlySqlTransaction:
        return True


def followed(binary):
    pair = Pair(binary).__enter__()
    pair.old.psql("create table t(id int primary key, v int); insert into t values (1, 1)", "shop")
    pair.start()
    pair.wait_following()
    return pair


def assert_nothing_left(server):
    assert not server.run("select slot_name from pg_replication_slots", "shop")
    assert not server.run("select pubname from pg_publication", "shop")


def test_complete(pair):
    pair.switch()
    try:
        pair.call("cancel")
        raise AssertionError("cancelled with the new side active")
    except RpcError as error:
        assert error.code == "conflict", error
    for _ in range(2):
        pair.call("complete")
    pair.role.kill9()
    pair.role.start()
    assert pair.call("status")["state"] == "completed"
    for server in (pair.old, pair.new):
        assert_nothing_left(server)
    assert is_closed(pair.old) and not is_closed(pair.new)


def test_cancel(pair):
    pair.call("act.prepare")
    report = pair.call("cancel")
    assert report["dropped"] == ["table public.t"] and not report["kept"], report
    pair.call("cancel")
    assert not pair.new.value("select to_regclass('t')", "shop")
    try:
        pair.call("status")
        raise AssertionError("a cancelled migration is still known")
    except RpcError as gone:
        assert gone.code == "not_found", gone.code
    for server in (pair.old, pair.new):
        assert_nothing_left(server)
        assert not server.value("select to_regnamespace('banyan')", "shop")
    assert not is_closed(pair.old)


MANY = """
create schema area; create type area.mood as enum ('good', 'bad'); create sequence area.numbers;
create table a(id int primary key, b int); create table b(id int primary key, a int references a);
alter table a add foreign key (b) references b; create index on b(a);
create table area.c(id int default nextval('area.numbers') primary key, mood area.mood, day date);
create table p(id int, day date, primary key (id, day)) partition by range (day);
create table p1 partition of p for values from ('2026-01-01') to ('2027-01-01');
create view v as select a.id from a join b on a.id = b.a;
create materialized view mv as select count(*) from area.c;
create function touch() returns trigger language plpgsql as 'begin return new; end';
create trigger touch before update on a for each row execute function touch();
create table serial(id bigserial primary key, i int generated always as identity);
insert into a values (1, null); insert into b values (1, 1); update a set b = 1; insert into p values (1, '2026-05-05');
insert into serial default values
"""
OBJECTS = """
select (select count(*) from pg_class where relnamespace in ('public'::regnamespace, to_regnamespace('area')))
     + (select count(*) from pg_type where typnamespace in ('public'::regnamespace, to_regnamespace('area')))
     + (select count(*) from pg_proc where pronamespace in ('public'::regnamespace, to_regnamespace('area')))
     + (select count(*) from pg_namespace where nspname !~ '^pg_')
"""


def test_cancel_drops_what_was_made_and_nothing_else(pair):
    """Twice: what a cancelled migration leaves is what was there before, so that it can be created again."""
    before = pair.new.value(OBJECTS, "shop")
    for late in ("late", "later"):
        pair.start(ddl_every_ms=300)
        pair.wait_following()
        pair.old.psql(f"create table {late}(id serial primary key, a int references a); insert into {late}(a) values (1);"
                      f"create table {late}_part partition of p for values from ('20{len(late)}0-01-01') to ('20{len(late)}1-01-01')", "shop")
        eventually(lambda: pair.new.value(f"select to_regclass('{late}_part')", "shop"), "the new tables to join")
        pair.assert_equal([late])
        pair.new.psql("create table mine(id int); insert into mine values (1)", "shop")
        report = pair.call("cancel")
        assert not report["kept"], report
        assert pair.new.value("select id from mine", "shop") == 1
        pair.new.psql("drop table mine", "shop")
        assert pair.new.value(OBJECTS, "shop") == before, report
        assert pair.old.value("select count(*) from b", "shop") == 1
    pair.start()
    pair.wait_following()


def test_cancel_keeps_what_others_wrote_to_or_use(pair):
    pair.new.psql("drop trigger banyan_fence on b; insert into b values (7, 1)", "shop")
    pair.new.psql("create view theirs as select id from area.c", "shop")
    report = pair.call("cancel")
    kept = {one["name"]: one["why"] for one in report["kept"]}
    assert "fence" in kept["table public.b"] and "depend" in kept["table area.c"], kept
    assert pair.new.value("select count(*) from b", "shop") == 2
    assert pair.new.value("select count(*) from theirs", "shop") == 0
    assert not pair.new.value("select to_regclass('p')", "shop") and not pair.new.value("select to_regnamespace('banyan')", "shop")


def test_cancel_keeps_a_side_that_served(pair):
    pair.switch()
    pair.switch()
    report = pair.call("cancel")
    assert [one["name"] for one in report["kept"]] == ["table public.t"] and not report["dropped"], report
    assert pair.new.value("select count(*) from t", "shop") == 1


def followed_many(binary):
    pair = Pair(binary).__enter__()
    pair.old.psql(MANY, "shop")
    test_cancel_drops_what_was_made_and_nothing_else(pair)
    return pair


def main():
    for test, prepare in ((test_complete, followed), (test_cancel, followed),
                          (test_cancel_keeps_what_others_wrote_to_or_use, followed_many),
                          (test_cancel_keeps_a_side_that_served, followed)):
        pair = prepare(sys.argv[1])
        try:
            test(pair)
        finally:
            pair.__exit__(None, None, None)
        print("ok  ", test.__name__)


if __name__ == "__main__":
    main()
