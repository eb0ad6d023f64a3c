"""Every way to copy, under load and killed at any moment: the shared snapshot, a snapshot for each table, a
snapshot for each range of a key. Finished chunks are never copied again, changes that a chunk's snapshot has
seen are not applied twice, rows that move between chunks are kept."""
import contextlib
import http.client
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

import psycopg2

from steps import Pair, eventually

SETUP = """
create table n(id bigint primary key, v int, body text); insert into n select g * 3 - 20000, g, repeat(md5(g::text), 3) from generate_series(1, 30000) g;
create table u(id uuid primary key, v int); insert into u select md5(g::text)::uuid, g from generate_series(1, 15000) g;
create table c(k text collate "C" primary key, v int, pad text); insert into c select 'key ' || g, g, repeat('p', 100) from generate_series(1, 15000) g;
create table l(k text primary key, v int, pad text); insert into l select 'locale ' || g, g, repeat('p', 100) from generate_series(1, 9000) g;
create table two(a int, b int, v int, primary key (a, b)); insert into two select g % 100, g, g from generate_series(1, 15000) g;
create table bag(a int, b text); insert into bag select g % 50, repeat('b', 50) from generate_series(1, 6000) g;
create table f(id int primary key, v int, w text); alter table f replica identity full; insert into f select g, g, repeat('w', 80) from generate_series(1, 9000) g;
create table short(id int primary key, v int); insert into short select g, g from generate_series(1, 6000) g;
analyze n; analyze u; analyze c; analyze l; analyze two; create table empty(id int primary key);
"""
TABLES = ["n", "u", "c", "l", "two", "bag", "f", "short", "empty"]


class Load(threading.Thread):
    """Writes of every kind, some of them in transactions that stay open for a while."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.chance, self.stopping, self.trouble, self.done = server, random.Random(seed), threading.Event(), None, 0

    def statement(self):
        n = self.chance.randint(1, 30000)
        key = n * 3 - 20000
        return self.chance.choice([
            f"update n set v = v + 1 where id = {key}", f"delete from n where id = {key}",
            f"insert into n values ({key}, 0, 'new') on conflict do nothing",
            f"update n set id = {self.chance.randint(100, 400) * 1000 + 1} - id where id = {key} and id % 3 <> 2 "
            f"and not exists (select 1 from n x where x.id = {self.chance.randint(100, 400) * 1000 + 1} - {key})",
            f"update u set v = v + 1 where id = md5('{n}')::uuid", f"update u set id = md5('x' || v)::uuid where id = md5('{n}')::uuid",
            f"update c set v = v + 1 where k = 'key {n}'", f"update c set k = 'a' || k where k = 'key {n}'",
            f"delete from c where k = 'akey {n}'", f"update l set v = -v where k = 'locale {n}'",
            f"update two set v = v + 1 where b = {n}", f"update two set a = 99 - a where b = {n}",
            f"insert into bag values ({n % 50}, null)", f"delete from bag where ctid = (select min(ctid) from bag where a = {n % 50})",
            f"update f set v = v + 1 where id = {n}", f"update f set id = -id where id = {n}", f"insert into empty values ({n}) on conflict do nothing",
            "truncate short; insert into short values (1, 1)", f"insert into short values ({n}, 2) on conflict do nothing",
        ])

    def run(self):
        session = self.server.connect("shop", autocommit=False)
        while not self.stopping.is_set():
            try:
                with session.cursor() as cursor:
                    for _ in range(self.chance.randint(1, 4)):
                        cursor.execute(self.statement())
                time.sleep(self.chance.choice([0, 0.001, 0.03]))
                session.commit() if self.chance.random() < 0.9 else session.rollback()
                self.done += 1
            except (psycopg2.errors.UniqueViolation, psycopg2.errors.DeadlockDetected):
                session.rollback()
            except Exception as error:
                self.trouble = error
                return


def chunks(pair):
    """What is finished, with the transaction that wrote it: a chunk copied again would have another one."""
    try:
        return set(pair.new.run("select table_name, chunk, key_column, rows, xmin::text from banyan.applied_chunks", "shop"))
    except psycopg2.Error:
        return set()


def kill_after_each_chunk(pair, kills):
    """kill -9 whenever something more is finished. Ranges of keys stay finished; of what is cut by pages only
    whole tables do."""
    killed, kept = 0, set()
    while killed < kills:
        def more_is_finished():
            return len(chunks(pair)) > len(kept) or pair.call("status")["state"] not in ("prepared", "schema", "copying")
        eventually(more_is_finished, "a chunk", pause_s=0.002)
        if pair.call("status")["state"] not in ("prepared", "schema", "copying"):
            break
        pair.role.kill9()
        killed += 1
        now = chunks(pair)
        whole = {row[0] for row in kept if row[1] == -1}
        lost = {row for row in kept if row not in now and row[2]}
        assert not lost, f"finished chunks are gone: {lost}"
        assert {row for row in kept if row[0] in whole} <= now, "a finished table was touched"
        kept = now
        pair.role.start()
    return killed, kept


KEYED = {"public.n", "public.u", "public.c", "public.two", "public.f"}


def begin_afresh(pair):
    for server in (pair.old, pair.new):
        server.run('drop database if exists shop with (force)')
        server.create_database("shop")
    pair.old.psql(SETUP, "shop")


def copy_with(pair, mode, kills, expected, **config):
    begin_afresh(pair)
    load = [Load(pair.old, seed) for seed in range(2)]
    for thread in load:
        thread.start()
    pair.call("start", config={"source": pair.old.url("shop"), "target": pair.new.url("shop"), "tables": "all",
                               "jobs": 2, "chunk_bytes": 100_000, "copy_mode": mode, **config})
    killed, kept = kill_after_each_chunk(pair, kills)
    pair.wait_following()
    assert {row for row in kept if row[2]} <= chunks(pair), "a finished chunk was copied again"
    cut = {row[0] for row in pair.new.run("select table_name from banyan.applied_chunks where key_column is not null", "shop")}
    snapshots = pair.new.value("select count(distinct snapshot) from banyan.applied_chunks where chunk >= 0", "shop")
    assert expected(cut, snapshots), (cut, snapshots)
    for thread in load:
        thread.stopping.set()
        thread.join()
        assert thread.trouble is None, thread.trouble
    pair.assert_equal(TABLES)
    verdict = pair.verify()
    assert verdict["state"] == "equal", verdict
    pair.call("cancel")
    print(f"ok   {mode}: killed {killed} times, {len(kept)} chunks kept, {snapshots} snapshots, "
          f"{sum(thread.done for thread in load)} transactions beside it")


def whole(pair):
    """Under the slot's snapshot a table of a few chunks is copied in one piece, and its rows are frozen."""
    begin_afresh(pair)
    pair.call("start", config={"source": pair.old.url("shop"), "target": pair.new.url("shop"), "tables": "all", "chunk_bytes": 1_000_000})
    pair.wait_following()
    pieces = pair.new.run("select table_name, count(*), sum(rows) from banyan.applied_chunks where chunk >= 0 group by 1", "shop")
    assert ("public.n", 1, 30000) in pieces and all(count == 1 for _, count, _ in pieces), pieces
    pair.new.run("create extension if not exists pageinspect", "shop")
    # Both bits of a frozen row: its transaction is committed, and never asked after again.
    assert pair.new.value("select bool_and(t_infomask & 768 = 768) from heap_page_items(get_raw_page('n', 0))", "shop")
    pair.assert_equal(TABLES)
    pair.call("cancel")
    print("ok   whole")


def dies_behind_a_whole_table(pair, orders):
    """A table that was copied in one piece is done with it: it is not copied again by who comes after."""
    begin_afresh(pair)
    (pathlib.Path(orders) / "chunk.committed").write_text("kill", encoding="ascii")
    with contextlib.suppress(OSError, http.client.HTTPException):
        pair.call("start", config={"source": pair.old.url("shop"), "target": pair.new.url("shop"), "tables": "all", "jobs": 1})
    eventually(lambda: pair.role.process.poll() is not None, "death behind a table")
    pieces = "select table_name, xmin::text from banyan.applied_chunks where chunk >= 0"
    done = pair.new.run(pieces, "shop")
    assert len(done) == 1, done
    pair.role.start()
    pair.wait_following()
    assert set(done) < set(pair.new.run(pieces, "shop")), "copied again"
    pair.assert_equal(TABLES)
    pair.call("cancel")
    print("ok   dies behind a whole table")


def throttled(pair):
    """A limit by hand slows the copy down, a pause stops it, and both can be taken back."""
    begin_afresh(pair)
    pair.call("start", config={"source": pair.old.url("shop"), "target": pair.new.url("shop"), "tables": "all",
                               "chunk_bytes": 100_000, "throttle": {"bytes_per_s": 1000}})
    eventually(lambda: pair.call("status")["state"] == "copying", "copying")
    held = pair.call("throttle", pause=True, bytes_per_s=0)
    assert held["held"] and held["bytes_per_s"] == 0, held
    before = eventually(lambda: pair.call("status"), "status")
    time.sleep(0.5)
    after = pair.call("status")
    assert after["state"] == "copying" and after["throttle"]["reasons"], after
    assert after["copied_bytes"] - before["copied_bytes"] < 400_000, (before["copied_bytes"], after["copied_bytes"])
    assert not pair.call("throttle", pause=False)["held"]
    pair.wait_following()
    pair.assert_equal(TABLES)
    pair.call("cancel")
    print("ok   throttled")


def every_way(pair, orders):
    copy_with(pair, "auto", 0, lambda cut, snapshots: snapshots <= 2 and {"public.n", "public.f"} <= cut, chunk_bytes=40_000)
    copy_with(pair, "chunk", 0, lambda cut, snapshots: KEYED <= cut and snapshots > 10)
    copy_with(pair, "table", 0, lambda cut, snapshots: not cut and snapshots > 2)
    copy_with(pair, "chunk", 8, lambda cut, snapshots: KEYED <= cut)
    copy_with(pair, "auto", 8, lambda cut, snapshots: snapshots > 1, chunk_bytes=40_000)
    whole(pair)
    dies_behind_a_whole_table(pair, orders)
    copy_with(pair, "table", 3, lambda cut, snapshots: not cut)
    throttled(pair)


def main():
    with tempfile.TemporaryDirectory(prefix="banyan-points-") as orders:
        os.environ["BANYAN_CHECKPOINTS"] = orders
        with Pair(sys.argv[1]) as pair:
            every_way(pair, orders)


if __name__ == "__main__":
    main()
