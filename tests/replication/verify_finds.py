"""Verification under load: no false alarm in any round, and every kind of difference is found and named:
a changed bit, a missing row, a row too many, duplicates of a table without a key, a missing table."""
import os
import sys
import threading
import time

from steps import Pair, eventually, past_the_fence

ROUNDS = int(os.environ.get("BANYAN_VERIFY_ROUNDS", 30))
SETUP = """
create table t(id int primary key, v bigint, b bytea); insert into t select g, g, '\\x00' from generate_series(1, 5000) g;
create table bag(a int, b text); insert into bag select g % 10, null from generate_series(1, 100) g;
create table still(id int primary key, v float8); insert into still select g, g / 3.0 from generate_series(1, 2000) g;
create table gone(id int primary key);
"""

# what it is called, the sabotage on the target, the table in which it must be found, and its repair
SABOTAGE = [
    ("one bit", "update still set v = v + 1e-13 where id = 77", "public.still",
     "update still set v = 77 / 3.0 where id = 77"),
    ("a missing row", "delete from still where id = 78", "public.still",
     "insert into still values (78, 78 / 3.0)"),
    ("a row too many", "insert into still values (9999, null)", "public.still",
     "delete from still where id = 9999"),
    ("a NULL for a value", "update still set v = null where id = 79", "public.still",
     "update still set v = 79 / 3.0 where id = 79"),
    ("a missing table", "alter table gone rename to away", "public.gone", "alter table away rename to gone"),
]


def load(pair, stopping):
    session = pair.old.connect("shop")
    number = 0
    with session.cursor() as cursor:
        while not stopping.is_set():
            number += 1
            key = number * 7 % 5000 + 1
            cursor.execute("update t set v = v + 1, b = b || '\\x01' where id = %s", (key,))
            cursor.execute("insert into bag values (%s, 'x')", (number % 10,))
            cursor.execute("delete from bag where ctid = (select min(ctid) from bag)")
            time.sleep(0.003)


def nobody_is_held_up(pair):
    """A lock on one side keeps nobody waiting on the other: the comparison gives up, and lets go of what it has read."""
    lock = pair.new.connect("shop", autocommit=False)
    lock.cursor().execute("lock table still in access exclusive mode")
    pair.call("verify", wait_ms=0)
    eventually(lambda: pair.new.value("select 1 from pg_locks where relation = 'still'::regclass and not granted", "shop"),
               "the comparison to wait")
    pair.old.run("comment on table still is 'changed meanwhile'; lock table still in access exclusive mode", "shop")
    verdict = pair.verify()
    assert verdict["state"] == "failed" and "public.still" in verdict["error"] and "lock" in verdict["error"], verdict
    assert "1. " in verdict["remedy"], verdict
    lock.close()
    assert pair.verify()["state"] == "equal"
    print("ok   nobody is held up by a comparison that waits")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        stopping = threading.Event()
        thread = threading.Thread(target=load, args=(pair, stopping), daemon=True)
        thread.start()
        for _ in range(ROUNDS):
            verdict = pair.verify()
            assert verdict["state"] == "equal", verdict
        print(f"ok   {ROUNDS} rounds under load without a false alarm")
        for name, sabotage, table, repair in SABOTAGE:
            past_the_fence(pair.new, sabotage)
            verdict = pair.verify()
            unequal = [t for t in verdict["tables"] if not t["equal"]]
            assert verdict["state"] == "different", (name, verdict)
            assert [t["table"] for t in unequal] == [table], (name, unequal)
            assert len(unequal[0]["differences"]) == 1, (name, unequal)
            past_the_fence(pair.new, repair)
            print("ok  ", name, unequal[0]["differences"][0])
        past_the_fence(pair.new, "insert into bag values (3, 'extra'), (3, 'extra')")
        found = [t for t in pair.verify()["tables"] if not t["equal"]]
        assert len(found) == 1 and found[0]["differences"][0]["source"] is None, found
        past_the_fence(pair.new, "delete from bag where b = 'extra'")
        stopping.set()
        thread.join()
        eventually(lambda: pair.verify()["state"] == "equal", "equality after the repairs")
        print("ok   duplicates of a table without a key")
        nobody_is_held_up(pair)


if __name__ == "__main__":
    main()
