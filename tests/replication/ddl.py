"""The schema changes while a migration follows: new tables and partitions join, what is safe is repeated, the rest
stops the stream with a way out, or is refused. Nothing is lost, nothing is applied twice."""
import sys
import threading
import time

import psycopg2

from steps import Pair, RpcError, eventually

SETUP = """
create type state as enum ('open', 'done');
create table t(id int primary key, v text, s state default 'open'); insert into t select g, 'v' from generate_series(1, 500) g;
create table part(id int primary key, v int) partition by range (id); create table part1 partition of part for values from (0) to (100);
insert into part select g, g from generate_series(1, 50) g;
"""


def fresh(pair, name, **config):
    pair.begin_afresh(name, SETUP, **{"ddl_every_ms": 300, **config})


def stopped(pair):
    def failed():
        status = pair.call("status")
        return status if status["state"] == "failed" and "the schema changed" in status["error"] else None
    return eventually(failed, "the schema's error")


def caught_up(pair):
    eventually(lambda: pair.call("status")["state"] == "following", "following again")


def test_new_tables_and_partitions_join(pair):
    fresh(pair, "joined")
    writing = threading.Event()
    trouble = []

    def write():
        try:
            with pair.old.connect(pair.name) as session, session.cursor() as cursor:
                for number in range(1000, 4000):
                    cursor.execute(f"insert into t(id) values ({number})")
                    cursor.execute(f"do $$ begin insert into \"New t\" values ({number}, 'n'); update \"New t\" set v = 'u' where id = {number - 5}; "
                                   "exception when undefined_table then null; end $$")
                    if writing.is_set():
                        return
                    time.sleep(0.001)
        except Exception as error:
            trouble.append(error)
    writer = threading.Thread(target=write)
    writer.start()
    pair.old.psql("""create type mood as enum ('good', 'bad');
        create table "New t"(id int primary key, v text, m mood default 'good'); insert into "New t" select g, 'old' from generate_series(1, 300) g; create index on "New t"(v);
        create table child(id serial primary key, t int references t, n int); insert into child(t, n) select g, g from generate_series(1, 100) g;
        create table nokey(a int); insert into nokey values (1), (1);
        create table part2 partition of part for values from (100) to (200); insert into part values (150, 1), (151, 2);
        create table part3(v int, id int primary key); insert into part3 select g, g from generate_series(200, 260) g;
        alter table part attach partition part3 for values from (200) to (300);
        update part set id = 170 where id = 10; delete from part where id = 210; insert into nokey values (2)""", pair.name)
    eventually(lambda: pair.new.value("select to_regclass('part3')", pair.name) and pair.new.value("select to_regclass('nokey')", pair.name), "the new tables")
    writing.set()
    writer.join()
    assert not trouble, trouble
    caught_up(pair)
    pair.old.run("insert into nokey values (3); update child set n = -n; insert into part values (199, 0)", pair.name)
    pair.assert_equal(["t", '"New t"', "child", "nokey", "part", "part2", "part3"])
    pair.switch()
    pair.new.run("insert into child(n) values (7); insert into part values (290, 0); update \"New t\" set m = 'bad'", pair.name)
    pair.assert_equal(["t", '"New t"', "child", "nokey", "part"])
    pair.switch()
    assert pair.verify()["state"] == "equal"
    pair.call("cancel")
    print("ok   new tables and partitions join")


def test_a_change_stops_and_says_what_to_do(pair):
    fresh(pair, "halted")
    pair.old.run("alter table t add column extra int; update t set extra = id where id < 10", pair.name)
    status = stopped(pair)
    assert "public.t.extra" in status["error"] and "alter table public.t add column extra integer" in status["remedy"], status
    assert "postgres" in status["error"] and "update t set extra" in status["error"], status  # who, and the statement
    for verb in ("act.prepare",):
        try:
            pair.call(verb)
            raise AssertionError("a switch was prepared")
        except RpcError as error:
            assert error.code == "conflict", error
    pair.new.run("alter table t add column extra int", pair.name)
    caught_up(pair)
    pair.assert_equal(["t"])
    pair.old.run("alter table t alter v type varchar(100)", pair.name)
    assert "public.t.v" in stopped(pair)["error"]
    pair.old.run("alter table t alter v type text", pair.name)
    caught_up(pair)
    pair.old.run("create index late on t(v)", pair.name)  # makes no row differ
    pair.old.run("insert into t(id, v) values (9999, 'x')", pair.name)
    pair.assert_equal(["t"])
    pair.switch()
    assert pair.verify()["state"] == "equal"
    print("ok   a change stops")


def refused(pair, verb, **body):
    try:
        pair.call(verb, **body)
    except RpcError as error:
        assert error.code == "conflict" and "schema" in str(error), error
        return
    raise AssertionError(f"nobody noticed in {verb}")


def test_a_change_behind_the_preparation_is_noticed_in_the_pause(pair):
    """By the stream at once; without the log of changes by the last look behind the fence."""
    fresh(pair, "paused", ddl_every_ms=600_000)
    epoch = pair.next_epoch()
    pair.call("act.prepare")
    lock = pair.new.connect(pair.name, autocommit=False)
    lock.cursor().execute("lock table t in access exclusive mode")  # the stream stands meanwhile
    pair.old.run("update t set v = 'last' where id = 1; alter table t add column late int default 3", pair.name)
    pair.fence(epoch)
    lock.close()
    refused(pair, "act.await", epoch=epoch, timeout_ms=60000)
    pair.call("act.abort", epoch=epoch)
    refused(pair, "act.fence", epoch=pair.next_epoch())
    pair.new.run("alter table t add column late int", pair.name)
    pair.start()
    pair.wait_following()
    epoch = pair.next_epoch()
    pair.call("act.prepare")
    pair.old.run("set application_name = 'banyan, they say'; alter table t add column later int", pair.name)  # kept from the log
    pair.fence(epoch)
    pair.call("act.await", epoch=epoch, timeout_ms=60000)
    refused(pair, "act.check")
    pair.call("act.abort", epoch=epoch)
    pair.call("cancel")
    print("ok   a change behind the preparation")


def test_what_is_safe_is_repeated(pair):
    fresh(pair, "repeated", ddl="apply_safe")
    pair.old.psql("""alter type state add value 'held' after 'open'; alter table t add column a int;
        alter table t add column c text generated always as (id::text || 'x') stored; alter table t add column b text default 'five'; alter table t add column d numeric(10,2) not null default 1.50; alter table t add column n timestamptz default now();
        alter table part add column w int default 7; create index by_v on t(v);""", pair.name)
    pair.old.psql("update t set s = 'held', a = id, b = null where id < 50; insert into t(id, s) values (9000, 'held'); "
                  "insert into part values (60, 1, 1); update part set w = null where id = 5", pair.name)
    pair.assert_equal(["t", "part"])
    eventually(lambda: pair.new.value("select to_regclass('by_v')", pair.name), "the index")
    pair.old.run("alter table t add column at timestamptz default clock_timestamp()", pair.name)  # another value for each row
    assert "public.t.at" in stopped(pair)["error"]
    pair.old.run("alter table t drop column at", pair.name)
    caught_up(pair)
    pair.old.run("update t set v = 'last' where id = 1", pair.name)
    pair.assert_equal(["t", "part"])
    pair.switch()
    assert pair.verify()["state"] == "equal"
    print("ok   what is safe is repeated")


def test_freeze_refuses(pair):
    fresh(pair, "frozen", ddl="freeze")
    for statement in ("alter table t add column no int", "create table other(id int)", "drop table part1", "alter table t drop column v"):
        try:
            pair.old.run(statement, pair.name)
            raise AssertionError(f"not refused: {statement}")
        except psycopg2.errors.ReadOnlySqlTransaction as error:
            assert "allow_ddl" in str(error), error
    pair.old.run("create temp table scratch(i int); drop table scratch; set banyan.allow_ddl = on; create table allowed(id int primary key); insert into allowed values (1)", pair.name)
    eventually(lambda: pair.new.value("select to_regclass('allowed')", pair.name), "the table")
    pair.assert_equal(["allowed"])
    pair.call("cancel")
    assert not pair.old.run("select 1 from pg_event_trigger", pair.name), "an event trigger is left behind"
    pair.old.run("alter table t add column yes int", pair.name)
    print("ok   freeze refuses")


def main():
    with Pair(sys.argv[1]) as pair:
        test_new_tables_and_partitions_join(pair)
        test_freeze_refuses(pair)
        test_a_change_behind_the_preparation_is_noticed_in_the_pause(pair)
        test_a_change_stops_and_says_what_to_do(pair)
        test_what_is_safe_is_repeated(pair)


if __name__ == "__main__":
    main()
