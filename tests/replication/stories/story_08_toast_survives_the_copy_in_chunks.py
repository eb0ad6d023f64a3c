"""An unchanged TOAST value was lost when its row changed while its chunk was copied.

The same matrix of keys and identities, copied range by range under snapshots of their own, under writers.
"""
import itertools

from world import Background, mark

SETUP = """create table mark(id int primary key);
create table k(id int primary key, v int, big text); alter table k alter big set storage external;
create table f(id int primary key, v int, big text); alter table f alter big set storage external; alter table f replica identity full;
create table n(v int, id int, big text); alter table n alter big set storage external; alter table n replica identity full;
insert into k select g, 0, repeat(md5(g::text), 100) from generate_series(1, 1500) g;
insert into f select * from k; insert into n select v, id, big from k;"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        numbers = itertools.count(1)

        def write():
            i = next(numbers) % 1500 + 1
            move.old.run(f"update k set v = v + 1 where id = {i}; update f set v = v + 1 where id = {i}; "
                         f"update f set id = -id where id = {i}; update n set v = v + 1 where id = {i}; "
                         f"update k set big = big || 'x' where id = {i} and v % 5 = 0", move.name)
        writers = [Background(write) for _ in range(2)]
        move.start(copy_mode="chunk", chunk_bytes=300_000)
        move.wait_following()
        for writer in writers:
            writer.stop()
        mark(move)
        assert move.new.value("select count(distinct snapshot) from banyan.applied_chunks", move.name) > 5
        for table in ("k", "f", "n"):
            question = f"select id, v, md5(big) from {table} order by 1, 2, 3"
            assert move.old.run(question, move.name) == move.new.run(question, move.name), table
        assert move.verify()["state"] == "equal"
