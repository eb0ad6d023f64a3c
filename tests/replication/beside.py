"""A backlog is applied by four sessions at once. Whatever moment is looked at, and wherever the role or the target
dies, between two commits too, the target holds exactly the first commits of the source, and in the end all of them.
Unique values that wander between rows make batches fail beside one another; they are written again alone. Numbers
whose texts differ are equal keys that no footprint tells: the wait they cause is ended.

    beside.py BANYAN [seed...]
"""
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

import psycopg2

from steps import Pair, eventually

TRANSACTIONS = 2000
CHAINED = 379742  # an earlier batch waits for a later one through a third
EFFORT = {"appliers": 4, "far_behind_ms": 0, "batch_transactions": 50}
POINTS = ["apply.beside.begun", "apply.beside.turn", "apply.before_commit", "apply.committed"]
TABLES = ["log", "hot", "wide", "token", "exact", "parent", "child"]
SETUP = """
create table log(id int primary key);
create table hot(id int primary key, n int not null, last int);
insert into hot values (1, 0, 0), (2, 0, 0);
create table wide(id int primary key, v int not null, body text);
insert into wide select g, 0, repeat(md5(g::text), 3) from generate_series(1, 5000) g;
create table token(id int primary key, u int unique);
insert into token select g, g from generate_series(1, 40) g;
create table exact(id numeric primary key, v int);
create table parent(id int primary key, n int); create table child(id int primary key, p int references parent);
"""


def transaction(number, chance):
    """Counts itself in the log and in a hot row, so that any state tells which transactions are in it."""
    row, other = chance.sample(range(1, 41), 2)
    near, text = chance.randint(1, 10), chance.choice(["", ".0", ".00"])
    return f"""begin; insert into log values ({number}); update hot set n = n + 1, last = {number};
update wide set v = {number} where id in ({chance.randint(1, 5000)}, {chance.randint(1, 5000)});
""" + chance.choice([
        f"update token set u = null where id = {row}; update token set u = {number + 100} where id = {other};",
        f"delete from token where id = {row}; insert into token values ({row}, {-number});",
        f"with gone as (delete from token where id = {other} returning u) "
        f"update token set u = gone.u from gone where id = {row}; insert into token values ({other}, null);",
        f"delete from exact where id = {near}; insert into exact values ({near}{text}, {number});",
        f"delete from child where id = {near}; delete from parent where id = {near} and not exists "
        f"(select 1 from child where p = {near}); insert into parent values ({near}, 0) on conflict do nothing; "
        f"insert into child values ({near}, {near});",
        "truncate exact;" if chance.random() < 0.02 else f"update parent set n = {number} where id = {near};",
    ]) + " commit;\n"


def check_prefix(server):
    """In one snapshot: the log is 1 to its count, and the hot rows have been counted as often."""
    try:
        count, last, least, most = server.run(
            "select (select count(*) from log), (select max(id) from log), min(n), max(n) from hot", "shop")[0]
    except psycopg2.Error:
        return 0  # it is down just now
    assert count == (last or 0) == least == most, f"not a prefix: {(count, last, least, most)}"
    return count


def watch(server, done, seen):
    try:
        while not done.is_set():
            seen.add(check_prefix(server))
            time.sleep(0.005)
    except AssertionError as error:
        seen.add(str(error))


def revive(pair):
    for _ in range(20):
        try:
            return pair.role.start()
        except RuntimeError:  # killed again while it started
            pass
    raise RuntimeError("the role does not start any more")


def follow_with_kills(pair, orders, chance):
    """The role dies at each point of the way once, and the target server once; then all is there."""
    pair.role.start()
    for point in POINTS:
        (orders / point).write_text(chance.choice(["kill", "kill", "error"]))

    def is_done():
        if pair.role.process.poll() is not None:
            revive(pair)
        if chance.random() < 0.02 and not (orders / "crashed").exists():
            (orders / "crashed").touch()
            pair.new.kill9()
            pair.new.start()
        return check_prefix(pair.new) == TRANSACTIONS
    eventually(is_done, "all transactions")
    return [path.name for path in orders.glob("*.reached")]


def run(seed):
    print("seed", seed)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="banyan-orders-") as directory:
        os.environ["BANYAN_CHECKPOINTS"] = directory
        with Pair(sys.argv[1]) as pair:
            pair.old.psql(SETUP, "shop")
            pair.start(**EFFORT)
            pair.wait_following()
            pair.role.stop()
            pair.old.psql("".join(transaction(number, chance) for number in range(1, TRANSACTIONS + 1)), "shop")
            done, seen = threading.Event(), set()
            watcher = threading.Thread(target=watch, args=(pair.new, done, seen))
            watcher.start()
            try:
                reached = follow_with_kills(pair, pathlib.Path(directory), chance)
            finally:
                done.set()
                watcher.join()
            assert not [one for one in seen if isinstance(one, str)], seen
            pair.wait_following()
            pair.assert_equal(TABLES)
            stream = pair.call("status")["stream"]
            print(f"{len(seen)} states seen, died or failed at {sorted(reached)}, since then: {stream}")
            assert stream["batches_beside"] > 0 and len(reached) == len(POINTS), (stream, reached)


def main():
    for seed in map(int, sys.argv[2:] or [CHAINED, random.randrange(1_000_000)]):
        run(seed)


if __name__ == "__main__":
    main()
