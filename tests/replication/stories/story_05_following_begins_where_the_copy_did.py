"""Rows committed between the copy's snapshot and the beginning of the stream were missing.

Snapshot and slot are one: rows that come while the schema is read and the copy runs arrive exactly once.
"""
from world import Background, mark

SETUP = """create table mark(id int primary key); create table t(id serial primary key, v int);
insert into t(v) select g from generate_series(1, 20000) g;"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        writer = Background(lambda: move.old.run("insert into t(v) values (0); update t set v = v + 1 where id = (select max(id) from t)", move.name))
        move.start()
        move.wait_following()
        writer.stop()
        mark(move)
        snapshot = move.new.value("select snapshot from banyan.stream", move.name)
        assert snapshot.count(":") == 2, snapshot
        count, total = move.old.run("select count(*), sum(v) from t", move.name)[0]
        assert move.new.run("select count(*), sum(v) from t", move.name)[0] == (count, total)
        assert move.verify()["state"] == "equal"
