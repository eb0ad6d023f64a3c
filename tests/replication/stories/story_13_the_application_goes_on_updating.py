"""A publication without a replica identity made the application's own UPDATE fail.

Tables without a key get their identity before they are published: under a writer no statement fails.
"""
from world import Background, mark

SETUP = """create table mark(id int primary key); create table t(a int, b int); insert into t select g, 0 from generate_series(1, 300) g;
create table u(a int unique, b int); insert into u select g, 0 from generate_series(1, 300) g;"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        writer = Background(lambda: move.old.run("update t set b = b + 1 where a = 7; delete from t where a = 8; insert into t values (8, 1); update u set b = b + 1 where a < 5", move.name))
        move.start()
        move.wait_following()
        writer.stop()
        mark(move)
        for table in ("t", "u"):
            question = f"select a, b, count(*) from {table} group by 1, 2 order by 1, 2"
            assert move.old.run(question, move.name) == move.new.run(question, move.name), table
