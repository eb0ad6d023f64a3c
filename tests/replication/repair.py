"""Repair under load: differing rows are written anew while everything is followed, nothing else is touched; a
stream that cannot go on (a row it needs is gone, its slot is lost) goes on from a new slot without a new copy;
after the switch the old side is repaired the same way; a repair that dies in the middle is found and done again."""
import sys

from steps import Pair, RpcError, eventually, past_the_fence
from stories.world import Background, refused

SETUP = """
create table t(id int primary key, v bigint, b text, u int unique);
insert into t select g, g, 'x', g from generate_series(1, 20000) g;
create table two(a text, b int, d date, g int generated always as (b * 2) stored, primary key (a, b));
insert into two select 'it''s ' || g, g, '2026-01-01' from generate_series(1, 1000) g;
create table bag(a int, b text); insert into bag select g % 10, null from generate_series(1, 200) g;
create table ident(id int generated always as identity primary key, p int references t on delete cascade);
insert into ident(p) select g from generate_series(1, 100) g;
create table noise(id int primary key); insert into noise values (1);
"""


def repair(pair, **order):
    def ended():
        out = pair.call("repair", wait_ms=5000, **order)
        return out if out["state"] != "running" else None
    return eventually(ended, "the repair")


def equal(pair):
    verdict = pair.verify()
    assert verdict["state"] == "equal", verdict


def load(pair, side):
    session = side.connect("shop")

    def write():
        with session.cursor() as cursor:
            load.n += 1
            cursor.execute("update t set v = v + 1 where id = %s", (load.n * 7 % 19000 + 1001,))
            cursor.execute("insert into bag values (%s, 'x')", (load.n % 10,))
    return Background(write)


load.n = 0
CHANGES = ["update t set b = 'wrong' where id in (5, 6)", "delete from t where id between 100 and 120",
           "insert into t values (99999, 1, 'extra', 99999)", "delete from two where b = 7",
           "update two set d = null where b % 100 = 1", "delete from ident where id = 3",
           "update t set u = case id when 10 then 1000010 else 10 end where id in (10, 11)"]


def test_differences(pair, passive):
    for change in CHANGES:
        past_the_fence(passive, change)
    dry = repair(pair, dry_run=True)
    found = {table["table"]: len(table["differences"]) for table in dry["tables"]}
    assert dry["state"] == "different" and found["public.two"] == 11 and found["public.ident"] == 1, found
    one = repair(pair, table="public.two")
    assert [(t["table"], t["written"]) for t in one["tables"]] == [("public.two", 11)], one
    done = {table["table"]: table for table in repair(pair)["tables"]}
    assert done["public.t"]["written"] == 25 and not done["public.t"]["whole"], done
    assert set(done) == {"public.t", "public.ident"}, done
    equal(pair)
    assert repair(pair)["state"] == "equal"


def test_whole_table(pair, passive):
    past_the_fence(passive, "insert into bag values (3, 'extra'), (3, 'extra')")
    done = repair(pair)
    assert [t["table"] for t in done["tables"] if t["whole"]] == ["public.bag"], done
    equal(pair)


def test_row_missing_for_the_stream(pair, active, passive):
    """Apply meets no row: it stops, names the repair, and goes on after it."""
    past_the_fence(passive, "delete from t where id = 500")
    active.run("update t set v = -1 where id = 500", "shop")
    status = eventually(lambda: (s := pair.call("status"))["state"] == "failed" and s, "the stop")
    assert "repair" in status["remedy"], status
    assert repair(pair, dry_run=True)["state"] == "failed"
    done = repair(pair)
    assert done["new_slot"], done
    pair.wait_following()
    equal(pair)


def test_lost_slot(pair, active):
    slot = active.value("select slot_name from pg_replication_slots where active and slot_name ~ '^banyan_shop'",
                        "shop")
    active.run(f"select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{slot}'", "shop")

    def dropped():
        try:
            active.run(f"select pg_drop_replication_slot('{slot}')", "shop")
            return True
        except Exception:  # the stream has it again
            active.run(f"select pg_terminate_backend(active_pid) from pg_replication_slots "
                       f"where slot_name = '{slot}' and active", "shop")
            return False
    eventually(dropped, "the slot to go")
    active.run("delete from t where id between 600 and 620", "shop")
    status = eventually(lambda: (s := pair.call("status"))["state"] == "failed" and s, "the loss to be seen")
    assert "repair" in status["remedy"], status
    assert repair(pair)["state"] == "repaired"
    pair.wait_following()
    equal(pair)


def test_killed_in_the_middle(pair, active, passive):
    """A lock holds the repair in its middle; the role dies; the next start says so, and repair ends it."""
    past_the_fence(passive, "delete from t where id = 700")
    active.run("update t set v = -2 where id = 700", "shop")
    eventually(lambda: pair.call("status")["state"] == "failed", "the stop")
    blocker = passive.connect("shop", autocommit=False)
    with blocker.cursor() as cursor:
        cursor.execute("lock table noise in access exclusive mode")
        pair.call("repair", wait_ms=1000)
        pair.role.kill9()
    blocker.rollback()
    pair.role.start()
    eventually(lambda: pair.call("status")["state"] == "failed", "the interrupted repair")
    refused(lambda: pair.switch(), code="conflict")
    assert repair(pair)["state"] == "repaired"
    pair.wait_following()
    equal(pair)


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        for active, passive in ((pair.old, pair.new), (pair.new, pair.old)):
            writer = load(pair, active)
            test_differences(pair, passive)
            test_whole_table(pair, passive)
            test_row_missing_for_the_stream(pair, active, passive)
            if active is pair.old:
                test_lost_slot(pair, active)
                test_killed_in_the_middle(pair, active, passive)
            writer.stop()
            if active is pair.old:  # what is written past the fence of a side that handed over is an alarm
                assert not pair.call("status").get("tripwire"), pair.call("status")
            print("ok   with", "old" if active is pair.old else "new", "as the active side")
            if active is pair.old:
                pair.switch()
        pair.assert_equal(["t", "two", "bag", "ident"])


if __name__ == "__main__":
    main()
