"""A transaction open when the switch begins ends before the barrier and is carried, or it is refused.

Others took the position before the locks, or let such a transaction commit on the closed side: a lost write.
"""
import threading

import psycopg2
from world import refused

SETUP = "create table t(id int primary key, v int); insert into t select g, 0 from generate_series(1, 100) g"
COMMITTERS = 8


def opened(move, *statements):
    session = move.old.connect(move.name, autocommit=False)
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    return session


def run(world):
    with world.migration(SETUP) as move:
        move.call("act.prepare")
        readers = [opened(move, f"set transaction isolation level {level}", "select sum(v) from t")
                   for level in ("read committed", "repeatable read", "serializable")]
        writers = [opened(move, f"insert into t values ({1000 + n}, {n})") for n in range(COMMITTERS)]
        epoch = move.next_epoch()
        refused(lambda: move.call("act.fence", epoch=epoch, lock_timeout_ms=30), "pid", code="timeout")
        timers = [threading.Timer(0.1 + 0.05 * n, writer.commit) for n, writer in enumerate(writers)]
        for timer in timers:
            timer.start()
        barrier = move.fence(epoch, tries=50)["barrier_lsn"]
        for timer in timers:
            timer.join()
        # Whoever had not written yet is refused, whatever it saw before.
        for session in readers:
            try:
                with session.cursor() as cursor:
                    cursor.execute("update t set v = -1 where id = 1")
                raise AssertionError("an old transaction wrote behind the fence")
            except psycopg2.errors.ReadOnlySqlTransaction:
                session.rollback()
        move.call("act.await", epoch=epoch, timeout_ms=60000)
        there = move.new.run("select id, v from t where id >= 1000 order by 1", move.name)
        assert there == [(1000 + n, n) for n in range(COMMITTERS)], there
        # Nothing of the tables is behind the barrier's position.
        assert move.old.value(f"select pg_current_wal_lsn() >= '{barrier}'::pg_lsn", move.name)
        for verb in ("act.handover", "act.open"):
            move.call(verb, epoch=epoch)
        move.assert_equal(["t"])
