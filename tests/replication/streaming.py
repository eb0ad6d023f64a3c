"""Transactions that the source sends before they have ended (PostgreSQL 14 and newer) wait on disk for their commit:
interleaved ones, aborted ones, undone savepoints, a role killed in their middle; and a huge one does not grow the role's
memory. BANYAN_HUGE_ROWS=10000000 for the full size.

    streaming.py BANYAN
"""
import os
import pathlib
import sys
import time

from steps import Pair, eventually

ROWS = int(os.environ.get("BANYAN_HUGE_ROWS", 300_000))
MEMORY_MB = 256
SETUP = """
create table item(id int primary key, v int, body text); create table other(id int primary key, v int);
create table log(n int, t text); create table done(id int primary key);
insert into item select g, 0, 'x' from generate_series(1, 1000) g;
"""
TABLES = ["item", "other", "log"]


class StreamingPair(Pair):
    """A source that streams every transaction of more than 64 kB."""

    def __init__(self, binary):
        super().__init__(binary)
        self.old.settings["logical_decoding_work_mem"] = "64kB"


def wait(pair, mark):
    pair.old.run(f"insert into done values ({mark})", "shop")
    eventually(lambda: pair.new.value(f"select 1 from done where id = {mark}", "shop"), "the stream", 600)


def spooled(pair):
    """What waits for its commit in the spool."""
    return pair.spool()["in_progress"]


def streamed_transactions(pair):
    return pair.old.value("select coalesce(sum(stream_txns), 0) from pg_stat_replication_slots")


def interleaved(pair):
    """Two at once, each with a savepoint that is undone; the one that began first commits last."""
    first, second = (pair.old.connect("shop", autocommit=False) for _ in range(2))
    with first.cursor() as one, second.cursor() as two:
        for turn in range(4):
            one.execute(f"insert into item select g, {turn}, repeat('a', 50) from generate_series("
                        f"{10_000 + turn * 1000}, {10_999 + turn * 1000}) g")
            two.execute(f"insert into other select g, {turn} from generate_series({turn * 1000}, {turn * 1000 + 999}) g")
            for cursor, table in ((one, "item"), (two, "other")):
                cursor.execute(f"savepoint s; update {table} set v = -1; delete from {table} where id % 2 = 0;"
                               "savepoint inner_one; insert into log select g, 'undone' from generate_series(1, 500) g;"
                               "release inner_one; rollback to savepoint s; release s")
        two.execute("update other set id = id + 100000 where id % 10 = 0")
        second.commit()
        one.execute("update item set v = v + 1")
        first.commit()
    first.close()
    second.close()


def aborted(pair):
    session = pair.old.connect("shop", autocommit=False)
    with session.cursor() as cursor:
        cursor.execute("insert into log select g, repeat('x', 100) from generate_series(1, 5000) g")
        eventually(lambda: spooled(pair), "a transaction on disk")
    session.rollback()
    session.close()
    pair.old.run("checkpoint")
    eventually(lambda: not spooled(pair), "the aborted transaction to be forgotten")


def killed_in_the_middle(pair):
    session = pair.old.connect("shop", autocommit=False)
    with session.cursor() as cursor:
        cursor.execute("insert into log select g, 'first half' from generate_series(1, 5000) g")
        eventually(lambda: spooled(pair), "a transaction on disk")
        wait(pair, 10)  # the position moves on beside it
        pair.role.kill9()
        cursor.execute("insert into log select g, 'second half' from generate_series(1, 5000) g")
        pair.role.start()
        cursor.execute("alter table other add column late int default 7; update other set late = id where id < 50")
    pair.new.run("alter table other add column late int default 7", "shop")
    session.commit()
    session.close()


def memory_mb(pair):
    status = pathlib.Path(f"/proc/{pair.role.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def huge(pair):
    pair.role.restart()
    pair.wait_following()
    before = memory_mb(pair)
    begun = time.monotonic()
    pair.old.run(f"insert into item select g, g, md5(g::text) from generate_series(1000001, {1_000_000 + ROWS}) g", "shop")
    written = time.monotonic() - begun
    wait(pair, 20)
    print(f"{ROWS} rows in one transaction: written in {written:.1f} s, there after {time.monotonic() - begun:.1f} s; "
          f"the role's memory at most {memory_mb(pair):.0f} MB ({before:.0f} MB before)")
    assert memory_mb(pair) < MEMORY_MB, memory_mb(pair)


def main():
    with StreamingPair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        for number, test in enumerate((interleaved, aborted, killed_in_the_middle, huge)):
            test(pair)
            wait(pair, 100 + number)
            if test is not huge:
                pair.assert_equal(TABLES)
            print("ok  ", test.__name__, f"{streamed_transactions(pair)} transactions were streamed so far", flush=True)
        assert streamed_transactions(pair) > 5, "the source did not stream"
        assert pair.verify()["state"] == "equal"
        assert not spooled(pair), spooled(pair)


if __name__ == "__main__":
    main()
