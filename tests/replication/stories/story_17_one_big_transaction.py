"""One transaction of very many rows is applied in bounded memory.

Others ran out of memory, or applied 1,500 rows a second. (tests/replication/streaming.py has the ten million.)
"""
import pathlib

from world import mark

SETUP = "create table mark(id int primary key); create table t(id int primary key, v int, body text)"
ROWS = 200_000


def run(world):
    with world.migration(SETUP) as move:
        move.old.psql(f"begin; insert into t select g, 0, md5(g::text) from generate_series(1, {ROWS}) g;"
                      f"update t set v = id; delete from t where id % 10 = 0; commit;", move.name)
        mark(move)
        total = "select count(*), sum(v) from t"
        assert move.old.run(total, move.name) == move.new.run(total, move.name)
        text = pathlib.Path(f"/proc/{move.role.process.pid}/status").read_text()
        assert int(text.split("VmRSS:")[1].split()[0]) / 1024 < 256
