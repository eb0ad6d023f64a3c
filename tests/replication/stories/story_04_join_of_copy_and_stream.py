"""Nothing is lost where following takes over from copying, whenever the role dies there.

Others lost rows at the change from one mode to the other.
"""
import time

from world import Background, mark

SETUP = """create table t(id bigserial primary key, v int); create table mark(id int primary key);
           insert into t(v) select g from generate_series(1, 20000) g"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        session = move.old.connect(move.name)

        def write():
            with session.cursor() as cursor:
                cursor.execute("insert into t(v) values (1); update t set v = v + 1 where id % 5000 = 7")
        writer = Background(write)
        move.start()
        for turn in range(6):
            time.sleep(0.05 + 0.07 * turn)
            move.role.kill9()
            move.role.start()
        move.wait_following()
        writer.stop()
        mark(move)
        count = "select count(*), sum(v), sum(id) from t"
        assert move.old.run(count, move.name) == move.new.run(count, move.name)
        session.close()
