"""Splits of one source that share a slot: the source decodes once, each target gets its own tables. They join and
leave one by one while everything is written; none of them stands still for another one."""
import contextlib
import http.client
import os
import pathlib
import sys
import tempfile
import threading

from steps import Banyan, Migration, Postgres, RpcError, eventually

SETUP = """
create table orders(id serial primary key, note text);
create table users(id serial primary key, name text);
create table "Log of"(id serial primary key, what text);
create table event(id serial, month int, what text, primary key (id, month)) partition by list (month);
create table event_1 partition of event for values in (1); create table event_2 partition of event for values in (2);
create table country(id int primary key, name text); insert into country select g, 'c' || g from generate_series(1, 9) g;
create table rest(id serial primary key, v int);
insert into orders(note) select 'n' || g from generate_series(1, 2000) g;
insert into users(name) select 'u' || g from generate_series(1, 2000) g;
insert into event(month, what) select 1 + g % 2, 'e' || g from generate_series(1, 2000) g;
"""
# Every transaction writes tables of several splits, and one that nobody moves.
WRITE = """
insert into orders(note) values ('new'); insert into users(name) values ('new'); insert into "Log of"(what) values ('x');
update orders set note = note || '.' where id = 1 + {n} % 1000; update users set name = 'v{n}' where id = 1 + {n} % 500;
insert into event(month, what) values (1 + {n} % 2, 'new'); delete from event where id = {n}; update country set name = 'd{n}' where id = 1 + {n} % 9; insert into rest(v) values ({n})
"""


class Split(Migration):
    """Some tables of database `shop` into a database of the split's name."""

    def __init__(self, world, name, server, tables, copies=()):
        super().__init__(world.old, server, world.role, name)
        self.tables, self.copies = tables, list(copies)
        server.create_database(name)

    def config(self, user=None, **more):
        return {"source": self.old.url("shop"), "target": self.new.url(self.name), "tables": self.tables, "copies": self.copies,
                "jobs": 2,
                "share": "monolith", "ddl_every_ms": 300, **more}

    def rows(self, side, table):
        server, database = (self.old, "shop") if side == "old" else (self.new, self.name)
        return server.run(f"select t::text from {table} t order by 1", database)

    def assert_equal(self, tables=None):
        for table in tables or self.tables + self.copies:
            try:
                eventually(lambda: self.rows("old", table) == self.rows("new", table), table, timeout_s=60)
            except TimeoutError:
                raise AssertionError(f"{self.name}: {table} differs: {self.call('status')}") from None

    def write(self, sql):
        on_old = self.active() == "old"
        (self.old if on_old else self.new).run(sql, "shop" if on_old else self.name)


class World:
    def __init__(self, binary):
        self.stack = contextlib.ExitStack()
        streams = {"logical_decoding_work_mem": "64kB"}  # large transactions come before they have ended
        self.old, self.near, self.far = Postgres(streams), Postgres(), Postgres()
        self.orders = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="banyan-points-")))
        os.environ["BANYAN_CHECKPOINTS"] = str(self.orders)
        self.role = Banyan(binary, "replicate")
        self.writes = 0
        self.skip = ()

    def __enter__(self):
        for part in (self.old, self.near, self.far, self.role):
            self.stack.enter_context(part)
        self.old.create_database("shop")
        self.old.psql(SETUP, "shop")
        self.sales = Split(self, "sales", self.near, ["orders"], ["country"])
        self.people = Split(self, "people", self.far, ["users", '"Log of"'])
        self.audit = Split(self, "audit", self.near, ["event"], ["country"])
        return self

    def __exit__(self, *error):
        if error[0]:
            print(self.role.log_tail(60), file=sys.stderr)
        self.stack.close()

    @contextlib.contextmanager
    def written(self):
        """Writes all the time."""
        stop = threading.Event()

        def write():
            with contextlib.closing(self.old.connect("shop", autocommit=False)) as db, db.cursor() as cursor:
                while not stop.is_set():
                    self.writes += 1
                    cursor.execute(WRITE.format(n=self.writes))
                    (db.rollback if self.writes % 10 == 0 else db.commit)()
                    stop.wait(0.002)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield
            was = self.writes
            eventually(lambda: self.writes > was + 20, "writes")
        finally:
            stop.set()
            writer.join()

    def large_transaction(self):
        self.old.run("insert into orders(note) select repeat('o', 200) from generate_series(1, 3000); "
                     "insert into users(name) select repeat('u', 200) from generate_series(1, 3000); "
                     "insert into event(month, what) select 1, repeat('e', 200) from generate_series(1, 3000)", "shop")

    def slots(self):
        return [name for (name,) in self.old.run("select slot_name from pg_replication_slots", "shop")]

    def published(self):
        return {name for (name,) in self.old.run(
            "select prrelid::regclass::text from pg_publication_rel r join pg_publication p on p.oid = prpubid "
            "where pubname = 'banyan_shared.monolith'", "shop")} - {"banyan.barrier", "banyan.heartbeat", "banyan.progress", "banyan.ddl_log"}


def test_joining(world):
    world.sales.start()
    world.sales.wait_following()
    with world.written():
        world.people.start()
        world.audit.start(copy_mode="chunk", chunk_bytes=20000)
        for split in (world.people, world.audit):
            split.wait_following()
        world.large_transaction()
    for split in (world.sales, world.people, world.audit):
        split.assert_equal()
    assert len(world.slots()) == 1, world.slots()
    assert world.published() == {"orders", "users", '"Log of"', "event", "country"}, world.published()
    members = world.sales.call("status")["stream"]["shared_with"]
    assert [one["migration"] for one in members] == ["audit", "people", "sales"], members
    assert all(split.verify()["state"] == "equal" for split in (world.sales, world.people, world.audit))
    print("ok   splits join one slot while everything is written")


def test_one_target_stands(world):
    world.far.kill9()
    with world.written():
        world.large_transaction()
        world.role.kill9()
        world.role.start()
    for split in (world.sales, world.audit):
        split.assert_equal()
    members = world.sales.call("status")["stream"]["shared_with"]
    assert [one["migration"] for one in members if one["holds"]] == ["people"], members
    world.far.start()
    with world.written():
        pass
    world.people.assert_equal()
    world.sales.assert_equal()
    print("ok   a target that stands is waited for, by nobody else; the role was killed meanwhile")


def test_spool_is_full(world):
    """At the limit the slowest one stops all, and each of the ways out lets them go on."""
    for split in (world.sales, world.people):
        split.start(spool={"limit_bytes": 1 << 20, "kept_wal_bytes": 1 << 40})
        split.wait_following()

    def fill():
        while "for people" not in (spool := world.sales.spool()).get("alarm", ""):  # it may be sales for a moment
            world.large_transaction()
        assert "for people" in spool["alarm"] and "all that share monolith wait" in spool["alarm"], spool
        assert [f"\n{way}. " in f"\n{spool['remedy']}" for way in (1, 2, 3)] == [True] * 3 and "cancel people" in spool["remedy"], spool
        received = world.sales.call("status")["stream"]["received_lsn"]
        world.old.run("insert into orders(note) values ('waits')", "shop")
        assert world.sales.call("status")["stream"]["received_lsn"] == received, "nothing more is received"
        assert not world.near.run("select 1 from orders where note = 'waits'", "sales")

    def everybody_goes_on(*splits):
        for split in splits:
            split.assert_equal()
            eventually(lambda split=split: "alarm" not in split.spool(), "the alarm to end")
        world.old.run("delete from orders where note = 'waits'", "shop")
        world.sales.assert_equal()
    world.far.kill9()
    fill()
    world.far.start()  # the first way
    everybody_goes_on(world.sales, world.people)
    world.far.kill9()
    fill()
    for split in (world.sales, world.people):  # the third
        split.start(spool={"limit_bytes": 64 << 20})
    everybody_goes_on(world.sales)
    world.role.kill9()
    world.role.start()
    everybody_goes_on(world.sales)
    for split in (world.sales, world.people):
        split.start(spool={"limit_bytes": 1 << 20})
    eventually(lambda: "alarm" in world.sales.spool(), "the limit is told again")
    with contextlib.suppress(RpcError):  # the second: its target does not answer
        world.people.call("cancel")
    everybody_goes_on(world.sales)
    world.far.start()
    eventually(lambda: cancelled(world.people), "the cancel to end")
    world.sales.call("cancel")
    assert not world.slots(), world.slots()
    print("ok   at the spool's limit the slowest one stops all; three ways out")


def cancelled(split):
    try:
        split.call("cancel")
    except RpcError as error:
        assert error.code == "unavailable", error
        return False
    return True


def test_partitions_made_meanwhile(world):
    with world.written():
        world.old.run("create table event_3 partition of event for values in (3); "
                      "insert into event(month, what) values (3, 'in a new one')", "shop")
        eventually(lambda: world.near.value("select to_regclass('event_3')", "audit"), "the new partition")
        world.old.run("insert into event(month, what) values (3, 'another')", "shop")
    world.audit.assert_equal()
    world.people.assert_equal()
    print("ok   a partition made meanwhile is its owner's")


def test_slot_is_lost(world):
    world.role.stop()
    world.old.run(f"select pg_drop_replication_slot('{world.slots()[0]}')", "shop")
    with world.written():
        pass
    world.role.start()
    splits = (world.audit, world.sales, world.people)
    for split in splits:
        eventually(lambda: split.call("status")["stream"].get("state") == "failed", "the loss is seen")
        repaired = eventually(lambda: (lambda now: now["state"] != "running" and now)(
            split.call("repair", wait_ms=2000)), "repair")
        assert repaired["state"] in ("repaired", "done", "equal"), repaired
    with world.written():
        pass
    for split in splits:
        split.assert_equal()
    assert len(world.slots()) == 1, world.slots()
    print("ok   a lost slot is made anew by the first repair, and joined by the others")


def test_leaving(world):
    world.sales.switch()
    world.sales.write("insert into orders(note) values ('over there')")
    world.old.run("update users set name = 'still here' where id = 7; insert into event(month, what) values (2, 'too')", "shop")
    for split in (world.sales, world.people, world.audit):
        split.assert_equal()
    world.people.call("cancel")
    assert world.published() == {"orders", "event", "country"}, world.published()
    world.old.run("insert into users(name) values ('alone'); insert into event(month, what) values (1, 'x')", "shop")
    world.audit.assert_equal()
    world.sales.switch()  # back
    world.sales.write("insert into orders(note) values ('back')")
    world.sales.assert_equal()
    world.sales.switch()
    world.sales.call("complete")
    assert world.published() == {"event", "country"}, world.published()
    world.old.run("insert into event(month, what) values (2, 'last'); update country set name = 'all'", "shop")
    world.audit.assert_equal()
    world.sales.assert_equal(["country"])
    world.audit.call("cancel")
    assert world.published() == {"country"}, world.published()
    world.old.run("update country set name = 'one'", "shop")
    world.sales.assert_equal(["country"])
    world.sales.call("complete", copies="end")
    assert not world.slots(), world.slots()
    assert not world.old.run("select 1 from pg_publication", "shop")
    print("ok   each switches and leaves by itself; the slot goes with the last one")


def dies_at(world, point, begin):
    """The role dies there, once, and goes on by itself."""
    order = world.orders / point
    order.write_text("kill")
    with contextlib.suppress(OSError, http.client.HTTPException):
        begin()
    eventually(lambda: world.role.process.poll() is not None, f"death at {point}")
    order.unlink(missing_ok=True)
    world.role.start()


def test_deaths(world):
    world.sales.start()
    world.sales.wait_following()
    with world.written():
        for point in ("share.listed", "begin.slot_made", "copy.end"):
            dies_at(world, point, world.audit.start)
            world.audit.wait_following()
            dies_at(world, "share.unlisted", lambda: world.audit.call("cancel"))
            world.audit.call("cancel")
            assert world.published() == {"orders", "country"}, world.published()
    world.sales.assert_equal()
    dies_at(world, "share.slot_dropped", lambda: world.sales.call("cancel"))
    world.sales.call("cancel")
    dies_at(world, "share.slot_made", world.people.start)
    world.people.wait_following()
    assert len(world.slots()) == 1, world.slots()
    world.people.call("cancel")
    assert not world.slots(), world.slots()
    print("ok   the role dies while splits join and leave")


def test_refusals(world):
    def refused(**more):
        try:
            world.people.start(**more)
        except RpcError as error:
            return error
        raise AssertionError(f"started with {more}")
    assert "whole database" in str(refused(tables="all"))
    world.audit.start()
    assert "another address" in str(refused(source=world.old.url("shop", "postgres") + "?connect_timeout=9"))
    world.audit.wait_following()
    world.audit.call("cancel")
    assert not world.slots()
    print("ok   what cannot share a slot is refused")


def main():
    with World(sys.argv[1]) as world:
        test_deaths(world)
        test_spool_is_full(world)
        test_joining(world)
        test_one_target_stands(world)
        test_partitions_made_meanwhile(world)
        test_slot_is_lost(world)
        test_leaving(world)
        test_refusals(world)
        print("ok")


if __name__ == "__main__":
    main()
