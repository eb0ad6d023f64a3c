"""The end of receiving is not the end of applying: what was acknowledged before the barrier arrives.

Others stopped applying because the receiver had reached its end position, with exit code 0 and commits missing.
"""
from world import eventually, refused

SETUP = "create table t(id int primary key)"


def run(world):
    with world.migration(SETUP) as move:
        move.call("act.prepare")
        blocker = move.new.connect(move.name, autocommit=False)
        with blocker.cursor() as cursor:
            cursor.execute("lock table t in access exclusive mode")
            for number in range(200):
                move.old.run(f"insert into t values ({number})", move.name)
            epoch = move.next_epoch()
            move.fence(epoch)
            eventually(lambda: move.old.value(
                "select bool_or(sent_lsn = pg_current_wal_lsn()) from pg_stat_replication"), "everything to be sent")
            move.old.run("select pg_terminate_backend(pid) from pg_stat_replication")
            refused(lambda: move.call("act.await", epoch=epoch, timeout_ms=300), code="timeout")
        blocker.rollback()
        move.call("act.await", epoch=epoch, timeout_ms=60000)
        assert move.new.value("select count(*) from t", move.name) == 200
        move.call("act.abort", epoch=epoch)
