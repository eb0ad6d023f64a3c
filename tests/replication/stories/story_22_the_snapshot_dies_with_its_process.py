"""The exported snapshot ended with the process that made it, and the resumed copy silently read another state.

What is copied after a death has a snapshot of its own, kept beside it; the stream is filtered by it.
"""
from world import Background, eventually, mark

SETUP = """create table mark(id int primary key); create table a(id int primary key, v int, pad text); insert into a select g, 0, repeat('a', 150) from generate_series(1, 15000) g;
create table b(x int, v int); insert into b select g, 0 from generate_series(1, 15000) g; analyze a;"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        writer = Background(lambda: move.old.run("update a set v = v + 1 where id in (1, 5000, 10000, 14999); update b set v = v + 1 where x = 77", move.name))
        move.start(chunk_bytes=100_000, throttle={"bytes_per_s": 2_000_000})
        eventually(lambda: move.call("status")["copied_bytes"] > 0, "some rows")
        world.role.kill9()
        world.role.start()
        move.wait_following()
        writer.stop()
        mark(move)
        assert move.new.value("select count(distinct snapshot) from banyan.applied_chunks where snapshot <> ''", move.name) > 0
        for table in ("a", "b"):
            assert move.old.run(f"select sum(v), count(*) from {table}", move.name) == move.new.run(f"select sum(v), count(*) from {table}", move.name), table
        assert move.verify()["state"] == "equal"
