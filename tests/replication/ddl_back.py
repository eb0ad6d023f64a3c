"""The schema changes on the new side after the switch: the stream back stops, repeats or refuses exactly there, as the one
before did; new tables and partitions join backwards; going back keeps all of it. Killed in between, too.

    ddl_back.py BANYAN
"""
import os
import pathlib
import sys
import tempfile

import psycopg2

from steps import Pair, eventually

SETUP = """
create type state as enum ('open', 'done');
create table t(id int primary key, v text, s state); insert into t select g, 'v', 'open' from generate_series(1, 50) g;
create table part(id int primary key, v int) partition by range (id);
create table part1 partition of part for values from (0) to (100); insert into part select g, g from generate_series(1, 50) g;
create index on part(v);
"""
PARTITIONS = """
create table part2 partition of part for values from (100) to (200); insert into part values (150, 1);
create table part3(v int, id int primary key); insert into part3 select g, g from generate_series(200, 260) g;
alter table part attach partition part3 for values from (200) to (300); update part set v = -1 where id = 210;
"""
INDEXES = """select i.indrelid::regclass::text, c.relname, i.indisprimary, p.inhparent::regclass::text from pg_index i
    join pg_class c on c.oid = i.indexrelid left join pg_inherits p on p.inhrelid = c.oid
    where i.indrelid::regclass::text ~ '^part' order by 1, 2"""


class Standing:
    """The stream back stands still while the body writes to the new side."""

    def __init__(self, pair):
        self.pair = pair

    def __enter__(self):
        self.lock = self.pair.old.connect(self.pair.name, autocommit=False)
        self.lock.cursor().execute("lock table t in access exclusive mode")

    def __exit__(self, *_):
        self.lock.close()


def switched(pair, name, **config):
    pair.begin_afresh(name, SETUP, **{"ddl_every_ms": 300, **config})
    pair.switch()


def stopped(pair, *words):
    def told():
        status = pair.call("status")
        return status if status["state"] == "failed" and all(word in status.get("error", "") for word in words) else None
    status = eventually(told, f"the stream back to stop at {words}")
    assert "1. " in status["remedy"] and "2. " in status["remedy"], status
    return status


def going_on(pair, *tables):
    eventually(lambda: pair.call("status")["state"] == "following", "following again")
    pair.assert_equal(tables or ["t"])


def ids(pair):
    return [row[0] for row in pair.old.run("select id from t where id >= 1000 order by 1", pair.name)]


def count(pair, table):
    try:
        return pair.old.value(f"select count(*) from {table}", pair.name)
    except psycopg2.errors.UndefinedTable:  # not made yet, or an interrupted join is taken back
        return None


def back_and_equal(pair):
    pair.switch()
    pair.old.run("update t set v = 'home' where id = 2", pair.name)
    pair.assert_equal(["t"])
    assert pair.verify()["state"] == "equal"
    assert not pair.call("status")["tripwire"], pair.call("status")


def test_it_stops_before_the_transaction(pair):
    switched(pair, "halted")
    pair.old.run("create index of_the_passive_side on t(v)", pair.name)  # nobody waits for that
    with Standing(pair):
        pair.new.psql("""insert into t(id) values (1000); begin; insert into t(id) values (1001); alter table t add column a int;
            insert into t(id, a) values (1002, 2); commit; insert into t(id, a) values (1003, 3);""", pair.name)
    stopped(pair, "Everything before the transaction at", "public.t.a", "alter table t add column a int")
    assert ids(pair) == [1000], ids(pair)
    pair.old.run("alter table t add column a int", pair.name)
    going_on(pair)
    pair.new.run("alter table t rename column v to w", pair.name)
    stopped(pair, "public.t.w")
    pair.new.run("alter table t rename column w to v", pair.name)
    going_on(pair)
    back_and_equal(pair)
    pair.call("cancel")
    for server in (pair.old, pair.new):
        assert not server.run("select 1 from pg_event_trigger", pair.name), "an event trigger is left behind"
    print("ok   it stops exactly before the transaction", flush=True)


def test_new_tables_and_partitions_join_backwards(pair):
    switched(pair, "joined")
    pair.new.psql("""create table more(id serial primary key, t int references t, m state default 'open');
        insert into more(t) select g from generate_series(1, 30) g; create index on more(m);
        create table bag(a int); insert into bag values (1), (1);""" + PARTITIONS, pair.name)
    eventually(lambda: pair.old.value("select to_regclass('more') is not null and to_regclass('bag') is not null "
                                      "and to_regclass('part3') is not null", pair.name), "the tables")
    going_on(pair, "more", "bag", "part", "part2", "part3")
    pair.new.run("update more set m = 'done' where id < 5; delete from bag where ctid = (select min(ctid) from bag); "
                 "insert into part values (199, 0), (299, 0)", pair.name)
    pair.assert_equal(["more", "bag", "part"])
    assert pair.old.run(INDEXES, pair.name) == pair.new.run(INDEXES, pair.name), pair.old.run(INDEXES, pair.name)
    assert "multiple primary keys" not in pair.role.log_tail(2000)
    try:
        pair.old.run("insert into more(t) values (1)", pair.name)
        raise AssertionError("the side that is followed to may be written")
    except psycopg2.errors.ReadOnlySqlTransaction:
        pass
    back_and_equal(pair)
    pair.old.run("insert into more(t) values (2); insert into bag values (7); insert into part values (198, 1)", pair.name)
    pair.assert_equal(["more", "bag", "part"])
    pair.switch()
    assert pair.verify()["state"] == "equal"
    pair.call("cancel") if pair.active() == "old" else pair.call("complete")
    print("ok   new tables and partitions join backwards", flush=True)


def test_what_is_safe_is_repeated_however_often_it_is_killed(pair, checkpoints):
    switched(pair, "safe", ddl="apply_safe")
    for number, point in enumerate(("ddl.met", "ddl.repeated", "ddl.passed", "apply.committed")):
        with Standing(pair):
            pair.new.psql(f"""insert into t(id) values (1{number}00); begin; insert into t(id) values (1{number}01);
                alter table t add column a{number} int, add column b{number} int default 3; update t set a{number} = id; commit;
                alter type state add value 's{number}'; insert into t(id, s) values (1{number}02, 's{number}')""", "safe")
            (checkpoints / point).write_text("kill")
        eventually(lambda: pair.role.process.poll() is not None, "killed at " + point)
        pair.role.start()
        going_on(pair)
    for number, point in enumerate(("join.tables_made", "join.copied")):
        (checkpoints / point).write_text("kill")
        pair.new.psql(f"""create table more{number}(id int primary key, v int); insert into more{number} select g, g from generate_series(1, 99) g;
            create table part{number + 2} partition of part for values from ({number + 1}00) to ({number + 2}00);
            insert into part values ({number + 1}50, 1)""", "safe")
        eventually(lambda: pair.role.process.poll() is not None, "killed at " + point)
        pair.role.start()
        eventually(lambda: count(pair, f"more{number}") == 99, "the table")
        going_on(pair, f"more{number}", "part")
        pair.new.run(f"update more{number} set v = 0 where id < 9", "safe")
        pair.assert_equal([f"more{number}", "part"])
    assert pair.old.run(INDEXES, pair.name) == pair.new.run(INDEXES, pair.name), pair.old.run(INDEXES, pair.name)
    back_and_equal(pair)
    pair.old.run("insert into more1 values (1000, 1)", "safe")
    pair.switch()  # what joined backwards is known to be on both sides
    pair.assert_equal(["more0", "more1", "part"])
    assert pair.verify()["state"] == "equal"
    pair.call("complete")
    print("ok   repeated there, however often killed", flush=True)


def test_a_large_partition_without_a_key_joins_once(pair, checkpoints):
    """Killed in the middle of its copy: no row comes twice, and the way back does not carry that they were taken away."""
    pair.begin_afresh("large", SETUP + "create table log(a int, v text) partition by range (a);", chunk_bytes=16384, jobs=1,
                      ddl_every_ms=300)
    (checkpoints / "chunk.committed").write_text("kill")
    pair.old.psql("create table log1 partition of log for values from (0) to (10000); "
                  "insert into log select g, repeat('v', 100) from generate_series(1, 3000) g", "large")
    writing = [pair.old.run(f"insert into log values ({number}, 'w')", "large") for number in range(3001, 3100)]
    eventually(lambda: pair.role.process.poll() is not None, "killed in the middle of its copy")
    assert pair.new.value("select count(*) from banyan.applied_chunks where table_name = 'public.log1'", "large") == 1
    pair.role.start()
    rows = 3000 + len(writing)
    eventually(lambda: pair.new.value("select count(*) from log", "large") >= rows, "the rows")
    going_on(pair, "log", "log1")
    assert pair.old.value("select count(*) from log", "large") == rows
    pair.switch()
    assert pair.verify()["state"] == "equal"
    pair.call("complete")
    print("ok   a large partition without a key joins once", flush=True)


def refused(server, statement, name):
    try:
        server.run(statement, name)
    except psycopg2.errors.ReadOnlySqlTransaction as error:
        return "allow_ddl" in str(error)
    return False


def test_freeze_is_on_the_side_that_is_written(pair):
    pair.begin_afresh("frozen", SETUP, ddl="freeze", ddl_every_ms=300)
    assert refused(pair.old, "alter table t add column no int", "frozen")
    pair.switch()
    assert refused(pair.new, "alter table t add column no int", "frozen")
    assert refused(pair.new, "drop table part1", "frozen")
    pair.new.run("set banyan.allow_ddl = on; create table allowed(id int primary key); insert into allowed values (1)", "frozen")
    eventually(lambda: pair.old.value("select to_regclass('allowed')", "frozen"), "the table")
    pair.assert_equal(["allowed"])
    back_and_equal(pair)
    assert refused(pair.old, "alter table t add column no int", "frozen")
    assert not refused(pair.new, "create table free(id int)", "frozen")
    pair.call("cancel")
    print("ok   freeze is on the side that is written", flush=True)


def main():
    with tempfile.TemporaryDirectory() as directory:
        os.environ["BANYAN_CHECKPOINTS"] = directory
        with Pair(sys.argv[1]) as pair:
            test_it_stops_before_the_transaction(pair)
            test_new_tables_and_partitions_join_backwards(pair)
            test_what_is_safe_is_repeated_however_often_it_is_killed(pair, pathlib.Path(directory))
            test_a_large_partition_without_a_key_joins_once(pair, pathlib.Path(directory))
            test_freeze_is_on_the_side_that_is_written(pair)


if __name__ == "__main__":
    main()
