"""Neither a lag of zero nor a lag that never ends decides over the switch: only the barrier row does.

Others cut over early on a miscomputed lag, or never because unrelated writes keep the log moving.
"""
from world import Background, refused

SETUP = "create table t(id int primary key, v int); insert into t select g, 0 from generate_series(1, 100) g"


def run(world):
    world.old.run("create database noise")
    noise = world.old.connect("noise")
    with noise.cursor() as cursor:
        cursor.execute("create table n(t text)")

    def write():
        with noise.cursor() as cursor:
            cursor.execute("insert into n select repeat(md5(g::text), 20) from generate_series(1, 100) g")
    unrelated = Background(write)
    with world.migration(SETUP) as move:
        move.call("act.prepare")
        # Apply stands still, and nothing else tells so: the handover must wait for the row, not for a figure.
        blocker = move.new.connect(move.name, autocommit=False)
        with blocker.cursor() as cursor:
            cursor.execute("lock table t in access exclusive mode")
            move.old.run("update t set v = 1", move.name)
            epoch = move.next_epoch()
            move.fence(epoch)
            refused(lambda: move.call("act.await", epoch=epoch, timeout_ms=300), code="timeout")
            refused(lambda: move.call("act.handover", epoch=epoch), code="timeout")
        blocker.rollback()
        # The log goes on moving, and the barrier arrives all the same.
        move.call("act.await", epoch=epoch, timeout_ms=60000)
        assert move.new.value("select sum(v) from t", move.name) == 100
        for verb in ("act.handover", "act.open"):
            move.call(verb, epoch=epoch)
        unrelated.stop()
    noise.close()
    world.old.run("drop database noise")
