"""An idle source reaches every end: the barrier is a row, and a quiet database does not hold the cluster's log.

Others waited for a position that an idle source never sends.
"""
from world import eventually

SETUP = "create table t(id int primary key); insert into t values (1)"


def run(world):
    with world.migration(SETUP) as move:
        # Another database writes; the slot of this one follows although nothing happens here.
        world.old.run("create table public.noise_18(t text)")
        world.old.run("insert into public.noise_18 select repeat(md5(g::text), 30) from generate_series(1, 2000) g")
        behind = world.old.value("select pg_current_wal_insert_lsn()")
        eventually(lambda: world.old.value(f"select confirmed_flush_lsn >= '{behind}'::pg_lsn from pg_replication_slots "
                                           f"where database = '{move.name}'"), "the slot to follow", 60)
        world.old.run("drop table public.noise_18")
        move.call("act.prepare")
        epoch = move.next_epoch()
        move.fence(epoch)
        move.call("act.await", epoch=epoch, timeout_ms=30000)
        move.call("act.abort", epoch=epoch)
