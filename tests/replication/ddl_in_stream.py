"""Schema changes at their exact place in the stream: while the stream stands still, rows are written before and after an
ALTER; then it goes on, and stops, or repeats the change, exactly there.

    ddl_in_stream.py BANYAN
"""
import os
import pathlib
import sys
import tempfile

from steps import Pair, eventually

SETUP = """
create type state as enum ('open', 'done');
create table t(id int primary key, v text, s state); insert into t select g, 'v', 'open' from generate_series(1, 50) g;
create table other(id int primary key, v int); create table gone(id int primary key);
"""
BIG = "repeat(md5(g::text), 40)"  # 1.3 kB


class Standing:
    """A migration whose stream stands still while the body writes to the source; then it has read what was written."""

    def __init__(self, pair):
        self.pair = pair

    def __enter__(self):
        self.lock = self.pair.new.connect(self.pair.name, autocommit=False)
        self.lock.cursor().execute("lock table t, other in access exclusive mode")

    def __exit__(self, *_):
        self.lock.close()


def fresh(pair, name, **config):
    pair.begin_afresh(name, SETUP, **{"ddl_every_ms": 300, **config})


def stopped(pair, *words):
    """Stopped before a transaction with a change; the status says which, who made it, where, and what to do."""
    def failed():
        status = pair.call("status")
        error = status.get("error", "")
        told = "Everything before the transaction at" in error and all(word in error for word in words)
        return status if status["state"] == "failed" and told else None
    status = eventually(failed, f"the stream to stop at {words}")
    assert "postgres (" in status["error"] and "1. " in status["remedy"] and "2. " in status["remedy"], status
    return status


def ids(pair, table="t", least=1000):
    return [row[0] for row in pair.new.run(f"select id from {table} where id >= {least} order by 1", pair.name)]


def caught_up(pair, *tables):
    pair.wait_following() if pair.call("status")["state"] != "failed" else eventually(
        lambda: pair.call("status")["state"] == "following", "following again")
    pair.assert_equal(tables or ["t"])


def verdicts(pair):
    return [(note["object"], note["verdict"]) for note in pair.call("status")["stream"].get("ddl", [])]


def test_it_stops_before_the_transaction_and_goes_on(pair):
    fresh(pair, "exact")
    with Standing(pair):
        pair.old.psql("""insert into t(id) values (1000); update t set v = 'before' where id = 1;
            create function unrelated() returns int language sql as 'select 1';
            begin; insert into t(id) values (1001); alter table t add column a int; insert into t(id, a) values (1002, 2); commit;
            insert into t(id, a) values (1003, 3); alter table t add column b int; insert into t(id, b) values (1004, 4);""", pair.name)
    stopped(pair, "public.t.a", "alter table t add column a int")
    assert ids(pair) == [1000] and pair.new.value("select v from t where id = 1", pair.name) == "before", ids(pair)
    assert ("public.unrelated()", "outside") in verdicts(pair) and ("public.t", "stops") in verdicts(pair), verdicts(pair)
    pair.call("start", config=pair.config(ddl_every_ms=300))
    stopped(pair, "public.t.a")
    assert ids(pair) == [1000], ids(pair)  # asking again moves nothing
    pair.new.run("alter table t add column a int", pair.name)
    stopped(pair, "public.t.b", "alter table t add column b int")
    assert ids(pair) == [1000, 1001, 1002, 1003], ids(pair)
    pair.new.run("alter table t add column b int", pair.name)
    caught_up(pair)
    print("ok   it stops exactly before the transaction", flush=True)


def test_what_is_done_on_both_sides_or_undone_is_passed(pair):
    fresh(pair, "both")
    pair.old.run("alter table t add column b int", "both")
    pair.new.run("alter table t add column b int", "both")
    with Standing(pair):
        pair.old.psql("""begin; alter table t add column no int; insert into t(id, no) values (2000, 1); rollback;
            begin; insert into t(id) values (2001); savepoint s; alter table t drop column b; rollback to s; commit;
            alter table t add column c int; alter table t add column d text; insert into t(id, d) values (2002, 'd');""", pair.name)
    stopped(pair, "public.t.c")
    assert ids(pair, least=2000) == [2001]
    pair.new.run("alter table t add column c int, add column d text", pair.name)
    caught_up(pair)
    pair.old.run("drop table gone", pair.name)
    stopped(pair, "public.gone", "drop table gone")
    pair.new.run("drop table gone", pair.name)
    pair.old.run("insert into t(id) values (3000)", pair.name)
    caught_up(pair)
    pair.old.run("alter table t rename column c to cc; insert into t(id, cc) values (3001, 1)", pair.name)
    stopped(pair, "public.t.cc", "rename column c to cc")
    pair.new.run("alter table t rename column c to cc", pair.name)
    caught_up(pair)
    pair.switch()
    assert pair.verify()["state"] == "equal"
    print("ok   on both sides, rolled back, dropped, renamed", flush=True)


def test_what_is_safe_is_repeated_there(pair):
    fresh(pair, "safe", ddl="apply_safe", ddl_every_ms=600_000)  # nobody but the stream looks
    with Standing(pair):
        pair.old.psql("""insert into t(id) values (1000); alter table t add column a int default 7; insert into t(id, a) values (1001, 1);
            alter type state add value 'held'; insert into t(id, s) values (1002, 'held');
            begin; insert into t(id) values (1003); alter table t add column b text; insert into t(id, b) values (1004, 'b');
            alter table t add column c int not null default 5; insert into t(id, c) values (1005, 6); update t set b = 'all'; commit;
            create index concurrently by_v on t(v); insert into t(id) values (1006);""", pair.name)
    caught_up(pair)
    assert [one for _, one in verdicts(pair)].count("repeated") == 4, verdicts(pair)
    with Standing(pair):
        pair.old.psql("""insert into t(id) values (1007);
            begin; alter table t add column fine int; alter table t add column each timestamptz default clock_timestamp(); commit;""", pair.name)
    stopped(pair, "public.t.each")
    assert ids(pair)[-1] == 1007, ids(pair)
    columns = "select count(*) from pg_attribute where attrelid = 't'::regclass and attname in ('fine', 'each')"
    assert pair.new.value(columns, pair.name) == 0  # all of a transaction, or nothing
    pair.old.psql("alter table t drop column each; insert into t(id) values (1008)", pair.name)
    pair.start(ddl="apply_safe", ddl_every_ms=300)
    caught_up(pair)
    print("ok   what is safe is repeated there", flush=True)


def test_large_and_streamed_transactions(pair):
    """The change is known only when megabytes of the transaction's rows have come."""
    for name, limit in (("large", "64MB"), ("streamed", "64kB")):
        pair.old.run(f"alter system set logical_decoding_work_mem = '{limit}'")
        pair.old.run("select pg_reload_conf()")
        fresh(pair, name, appliers=4, far_behind_ms=0, batch_transactions=3)
        with Standing(pair):
            for number in range(1000, 1010):
                pair.old.run(f"insert into t(id) values ({number})", name)
            pair.old.psql(f"""begin; insert into t select g, {BIG} from generate_series(2000, 6000) g; alter table t add column a int;
                savepoint s; alter table t add column never int; rollback to s;
                insert into t select g, {BIG}, null, g from generate_series(6001, 8000) g; alter table t add column b int; commit;
                insert into t(id, b) values (9000, 1)""", name)
        stopped(pair, "public.t.a", "public.t.b")
        assert "never" not in pair.call("status")["error"]
        assert ids(pair) == list(range(1000, 1010)), ids(pair)[:20]
        pair.new.run("alter table t add column a int, add column b int", name)
        caught_up(pair)
        pair.call("cancel")
    print("ok   large and streamed transactions", flush=True)


def test_killed_around_it(pair, checkpoints):
    fresh(pair, "killed", ddl="apply_safe")
    for round, point in enumerate(("ddl.met", "ddl.repeated", "ddl.passed", "apply.committed")):
        with Standing(pair):
            pair.old.psql(f"""insert into t(id) values (1{round}00); begin; insert into t(id) values (1{round}01);
                alter table t add column a{round} int, add column b{round} int default 3; update t set a{round} = id; commit;
                insert into t(id, a{round}) values (1{round}02, 1)""", "killed")
            (checkpoints / point).write_text("kill")
        eventually(lambda: pair.role.process.poll() is not None, "killed at " + point)
        pair.role.start()
        pair.wait_following()
        pair.assert_equal(["t"])
    print("ok   killed around it", flush=True)


def test_only_moved_tables_count(pair):
    fresh(pair, "split", tables=["public.other"])
    pair.old.run("alter table t add column a int; insert into other values (1, 1); create table new(id int)", pair.name)
    pair.assert_equal(["other"])
    assert ("public.t", "outside") in verdicts(pair), verdicts(pair)
    pair.old.run("insert into other values (2, 2); alter table other add column a int; insert into other values (3, 3, 3)", pair.name)
    stopped(pair, "public.other.a")
    assert ids(pair, "other", 1) == [1], ids(pair, "other", 1)  # one query string is one transaction
    pair.call("cancel")
    print("ok   only moved tables count", flush=True)


def main():
    with tempfile.TemporaryDirectory() as directory:
        os.environ["BANYAN_CHECKPOINTS"] = directory
        with Pair(sys.argv[1]) as pair:
            test_it_stops_before_the_transaction_and_goes_on(pair)
            test_what_is_done_on_both_sides_or_undone_is_passed(pair)
            test_what_is_safe_is_repeated_there(pair)
            test_large_and_streamed_transactions(pair)
            test_killed_around_it(pair, pathlib.Path(directory))
            test_only_moved_tables_count(pair)


if __name__ == "__main__":
    main()
