"""Some tenants of a table move to another database while all of them write: the fence closes their rows and no others, the
tripwire tells of their rows only, both sides draw their ids apart, the way back takes them home; a second slice of the same
tables goes elsewhere. The role is killed at the fence. No acknowledged write is lost or doubled, nobody else is refused.

    slices.py BANYAN
"""
import contextlib
import http.client
import os
import pathlib
import sys
import tempfile
import threading
import time

import psycopg2

from steps import Migration, Pair, eventually

SETUP = """
create table orders(id serial primary key, tenant int not null, "Odd ""name" text default '', n int, unique (tenant, n));
create table item(id uuid primary key default gen_random_uuid(), tenant int not null, o int references orders on delete cascade, v int);
create table guide(id int primary key, v int); insert into guide select g, 0 from generate_series(1, 50) g;
insert into orders(tenant, n) select 1 + g % 100, -g from generate_series(1, 3000) g;
insert into item(tenant, o, v) select tenant, id, 0 from orders;
"""
TABLES = ["public.orders", "public.item"]
MOVED, SECOND = "tenant between 1 and 50", "tenant between 51 and 70"


def mapped(where):
    return {"tables": TABLES, "map": [{"table": "orders", "where": where + ' and "Odd ""name" is not null'}, {"table": "item", "where": where}]}


class Writer(threading.Thread):
    """A tenant's client: one order with one item a time, each counted when it was acknowledged."""

    def __init__(self, pair, tenant, moves):
        super().__init__(daemon=True)
        self.pair, self.tenant, self.moves = pair, tenant, moves
        self.acknowledged, self.refused, self.slowest, self.trouble = [], 0, 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            sides = [self.pair.old, self.pair.new] if self.moves else [self.pair.old]
            sessions = [side.connect("shop", autocommit=False) for side in sides]
            n = 0
            while not self.stopping.is_set():
                n += 1
                begun = time.monotonic()
                while not self.stopping.is_set() and not any(self.write(session, n) for session in sessions):
                    time.sleep(0.002)
                self.slowest = max(self.slowest, time.monotonic() - begun)
                time.sleep(0.004)
        except Exception as error:
            self.trouble = error

    def write(self, session, n):
        try:
            with session.cursor() as cursor:
                cursor.execute("insert into orders(tenant, n) values (%s, %s) returning id", (self.tenant, n))
                row = cursor.fetchone()[0]
                cursor.execute("insert into item(tenant, o, v) values (%s, %s, %s)", (self.tenant, row, n))
                cursor.execute("update item set v = v + 1 where tenant = %s and o = %s", (self.tenant, row))
            session.commit()
            self.acknowledged.append((self.tenant, n, row, n + 1))
            return True
        except psycopg2.errors.ReadOnlySqlTransaction:
            session.rollback()
            self.refused += 1
            return False


@contextlib.contextmanager
def written(pair):
    writers = [Writer(pair, tenant, tenant <= 50) for tenant in (1, 2, 50, 51, 99)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
    for writer in writers:
        assert writer.trouble is None, (writer.tenant, writer.trouble)
        assert writer.moves or writer.refused == 0, (writer.tenant, writer.refused)


BOOKS = "select o.tenant, o.n, o.id, i.v from orders o join item i on i.o = o.id where o.n > 0 and o.{} order by 1, 2"


def check_books(pair, writers):
    def books(server, where):
        return server.run(BOOKS.format(where), "shop")
    expected = sorted(entry for writer in writers if writer.moves for entry in writer.acknowledged)
    eventually(lambda: books(pair.old, MOVED) == books(pair.new, MOVED), "both sides alike")
    assert books(pair.new, MOVED) == expected, set(books(pair.new, MOVED)) ^ set(expected)
    others = sorted(entry for writer in writers if not writer.moves for entry in writer.acknowledged)
    assert books(pair.old, "tenant > 50") == others, set(books(pair.old, "tenant > 50")) ^ set(others)
    assert not pair.new.run("select 1 from orders where tenant > 50", "shop")
    pair.old.run("delete from orders where n > 0 and tenant > 50", "shop")
    (pair.new if pair.active() == "new" else pair.old).run("delete from orders where n > 0 and " + MOVED, "shop")
    for writer in writers:
        writer.acknowledged.clear()


def dies_at(pair, orders, point, begin):
    order = pathlib.Path(orders) / point
    order.write_text("kill", encoding="ascii")
    with contextlib.suppress(OSError, http.client.HTTPException):
        begin()
    eventually(lambda: pair.role.process.poll() is not None, f"death at {point}")
    order.unlink(missing_ok=True)
    pair.role.start()
    pair.wait_following()


def test_switch_under_load(pair, orders):
    with written(pair) as writers:
        time.sleep(0.5)
        for point in ("fence.triggers_set", "fence.committed", "handover.decide"):
            epoch = pair.next_epoch()
            pair.call("act.prepare")
            pair.fence(epoch) if point == "handover.decide" else None
            verb = "act.handover" if point == "handover.decide" else "act.fence"
            if verb == "act.handover":
                pair.call("act.await", epoch=epoch, timeout_ms=60000)
            dies_at(pair, orders, point, lambda: pair.call(verb, epoch=epoch, **({"lock_timeout_ms": 300} if verb == "act.fence" else {})))
            standing = pair.call("act.state")
            assert standing["act"] == ("running" if point == "fence.triggers_set" else "fenced"), standing
            if standing["act"] == "fenced":
                pair.call("act.abort", epoch=epoch)
        pauses = [pair.switch()]
        time.sleep(0.5)
    assert pair.active() == "new" and any(writer.refused for writer in writers if writer.moves)
    written_on_new = [id for _, _, id, _ in pair.new.run(BOOKS.format(MOVED), "shop") if id > 1 << 29]
    assert written_on_new, "ids of the new side are far from those of the old one"
    check_books(pair, writers)
    assert pair.verify()["state"] == "equal"
    with written(pair) as writers:
        for _ in range(4):
            time.sleep(0.2)
            pauses.append(pair.switch())
        time.sleep(0.2)
    assert pair.active() == "new"
    check_books(pair, writers)
    print("ok   switches under load, killed at the fence; pauses", [round(pause) for pause in pauses], "ms; slowest write of the others",
          round(1000 * max(writer.slowest for writer in writers if not writer.moves)), "ms")


REFUSED = [
    "insert into orders(tenant) values (7)",
    "insert into orders(id, tenant, n) values (1, 99, 5000) on conflict (id) do update set tenant = 7",
    "update orders set n = n + 700000 where tenant = 7", "update orders set tenant = 7, n = n + 700000 where tenant = 99",
    "update orders set tenant = 99, n = n + 700000 where tenant = 7", "update orders set n = n", "delete from orders where tenant = 7",
    "truncate orders cascade", "truncate item", "copy item(tenant, v) from program 'echo 7,1' (format csv)",
    "merge into orders using (values (8)) as v(t) on tenant = v.t when matched then delete",
    "delete from orders o using item i where i.o = o.id and i.tenant = 7",
    "set session_replication_role = replica; update item set v = 0 where tenant = 50",
    "update orders set n = 77777 where n = -99",  # a trigger makes it one of them
    "begin isolation level repeatable read; insert into orders(tenant) values (99); insert into orders(tenant) values (1)",
]


def refused(sql, server):
    try:
        with contextlib.closing(server.connect("shop")) as session, session.cursor() as cursor:
            cursor.execute(sql)
    except psycopg2.errors.ReadOnlySqlTransaction as error:
        return str(error)
    return None


def test_fence(pair):
    pair.old.psql("""create function lures() returns trigger language plpgsql as
                     $$ begin if new.n = 77777 then new.tenant := 3; end if; return new; end $$;
                     create trigger zz before update on orders for each row execute function lures()""", "shop")
    for sql in REFUSED:
        assert "closed for writing" in (refused(sql, pair.old) or ""), sql
    for sql in ("update orders set n = n + 5000 where tenant > 50", "insert into orders(tenant, n) values (99, 4999)",
                "delete from orders where tenant = 99 and n = 4999", "update orders set n = 0 where tenant = 50 and false",
                "with o as (insert into orders(tenant) values (98) returning id) insert into item(tenant, o) select 98, id from o",
                "update guide set v = 1", "update item set v = v where tenant = 99"):
        assert refused(sql, pair.old) is None, sql
    pair.old.psql("drop trigger zz on orders; drop function lures", "shop")
    assert pair.verify()["state"] == "equal"
    print("ok   only the slice is closed")


def test_tripwire(pair):
    """Past the triggers: what is written of the slice is told, the rest is nobody's business."""
    triggers = ", ".join(f"{{0}} trigger \"banyan_fence shop {which}\"" for which in ("new", "old", "all"))
    assert not pair.call("status")["tripwire"]
    pair.old.run(f"begin; alter table orders {triggers.format('disable')};"
                 "update orders set n = n + 1 where tenant = 51; update orders set n = 31337 where id = (select min(id) from orders where tenant = 7);"
                 f"insert into orders(tenant, n) values (60, 31337); alter table orders {triggers.format('enable always')}; commit", "shop")
    alarms = eventually(lambda: pair.call("status")["tripwire"], "the alarm")
    assert ["tenant=7" in alarm["row"] and "n=31337" in alarm["row"] for alarm in alarms] == [True], alarms
    assert [t["table"] for t in pair.verify()["tables"] if not t["equal"]] == ["public.orders"]
    pair.repair()
    assert pair.verify()["state"] == "equal"
    print("ok   the tripwire tells of the slice")


def test_second_slice(pair):
    """Of the same tables, to another database, while the first one is open on its own."""
    pair.new.create_database("second")
    second = Migration(pair.old, pair.new, pair.role, "second")
    second.config = lambda user=None, **more: {"source": pair.old.url("shop"), "target": pair.new.url("second"), "jobs": 2, **mapped(SECOND), **more}
    second.start()
    second.wait_following()
    second.switch()
    assert second.active() == "new"
    for tenant, where in ((7, "first"), (60, "second")):
        assert refused(f"insert into orders(tenant, n) values ({tenant}, 0)", pair.old), where
    assert refused("insert into orders(tenant, n) values (99, 123456)", pair.old) is None
    ids = [pair.new.value(f"insert into orders(tenant, n) values ({tenant}, 60001) returning id", database)
           for tenant, database in ((55, "second"), (5, "shop"))]
    assert abs(ids[0] - ids[1]) > 1 << 28, ids
    eventually(lambda: pair.old.value("select count(*) from orders where n = 60001", "shop") == 2, "both ways back")
    for migration in (pair, second):
        assert migration.verify()["state"] == "equal", migration.name
    second.switch()
    assert refused("insert into orders(tenant, n) values (60, 60002)", pair.old) is None
    assert refused("insert into orders(tenant, n) values (7, 60002)", pair.old)
    second.call("cancel")
    left = {row[0] for row in pair.old.run("select tgname from pg_trigger where tgname like 'banyan%' and tgrelid = 'orders'::regclass", "shop")}
    assert left == {f"banyan_fence shop {which}" for which in ("new", "old", "all")}, left
    print("ok   a second slice of the same tables")


def test_end(pair):
    """The tenants that moved are free there; here their rows stay closed, the others are served on."""
    pair.call("complete")
    pair.new.run("insert into orders(tenant, n) values (1234, 1)", "shop")
    assert refused("delete from orders where tenant = 7", pair.old)
    assert refused("update orders set n = n + 1 where tenant > 50", pair.old) is None
    assert pair.old.value("select count(*) from orders where tenant = 7", "shop") > 0, "who reads them still may"
    pair.old.run("""begin; alter table item disable trigger "banyan_fence shop old"; alter table orders disable trigger "banyan_fence shop old";
                    delete from orders where tenant between 1 and 50; alter table orders enable always trigger "banyan_fence shop old";
                    alter table item enable always trigger "banyan_fence shop old"; commit""", "shop")
    assert refused("insert into orders(tenant) values (7)", pair.old)
    print("ok   completed")


def main():
    with tempfile.TemporaryDirectory(prefix="banyan-points-") as orders:
        os.environ["BANYAN_CHECKPOINTS"] = orders
        with Pair(sys.argv[1]) as pair:
            pair.old.psql(SETUP, "shop")
            pair.start(**mapped(MOVED))
            pair.wait_following()
            test_switch_under_load(pair, orders)
            test_fence(pair)
            test_tripwire(pair)
            test_second_slice(pair)
            test_end(pair)


if __name__ == "__main__":
    main()
