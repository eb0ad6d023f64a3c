"""Many wide rows applied one by one neither pile up in memory nor get stuck: the pipeline is bounded by bytes.

Others queued without bound, spent their time moving that memory, or dead-locked with the server.
"""
import pathlib

from world import mark

SETUP = """create table mark(id int primary key); create table t(id int primary key, big text);
           alter table t alter big set storage external"""
ROWS, WIDTH = 150, 1_000_000


def memory_mb(role):
    text = pathlib.Path(f"/proc/{role.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def run(world):
    with world.migration(SETUP, apply="rows") as move:
        move.old.run(f"insert into t select g, repeat('x', {WIDTH}) from generate_series(1, {ROWS}) g", move.name)
        move.old.run("update t set big = big || 'y'", move.name)
        mark(move)
        assert move.new.value("select sum(length(big)) from t", move.name) == ROWS * (WIDTH + 1)
        assert memory_mb(move.role) < 256, memory_mb(move.role)
