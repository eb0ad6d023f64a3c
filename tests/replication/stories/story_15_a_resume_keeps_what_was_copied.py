"""A resume emptied tables of which parts had been copied, and copied them again.

The role dies whenever a range is finished: no finished range is written by a second transaction, ever.
"""
import psycopg2

from world import eventually

SETUP = """create table t(id int primary key, pad text); insert into t select g, repeat('x', 200) from generate_series(1, 20000) g; analyze t;"""


def finished(move):
    try:
        return set(move.new.run("select chunk, lo, hi, rows, xmin::text from banyan.applied_chunks where chunk >= 0", move.name))
    except psycopg2.Error:
        return set()


def run(world):
    with world.migration(SETUP, begin=False) as move:
        move.start(chunk_bytes=200_000)
        kept = set()
        for _ in range(4):
            eventually(lambda: len(finished(move)) > len(kept) or move.call("status")["state"] == "following", "a range", pause_s=0.002)
            world.role.kill9()
            now = finished(move)
            assert kept <= now, kept - now
            kept = now
            world.role.start()
        move.wait_following()
        assert kept <= finished(move), "a finished range was copied again"
        assert sum(row[3] for row in finished(move)) == 20000
        assert move.new.value("select count(*) from t", move.name) == 20000
