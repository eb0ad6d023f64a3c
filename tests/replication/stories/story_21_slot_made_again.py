"""A slot that somebody made again under the same name is refused: changes are missing in between.

Others went on with it, and with a silent gap. Also: a restart between the changes of one transaction applies none twice.
"""
from world import eventually, mark

SETUP = """create table mark(id int primary key); create table t(id int primary key, v int);
           insert into t select g, 0 from generate_series(1, 5000) g"""


def run(world):
    with world.migration(SETUP) as move:
        # All changes of this transaction share one position; the stream is cut in their middle, again and again.
        blocker = move.new.connect(move.name, autocommit=False)
        with blocker.cursor() as cursor:
            cursor.execute("select 1 from t where id = 4000 for update")
            move.old.run("update t set v = v + 1", move.name)
            for _ in range(2):
                eventually(lambda: move.new.value("select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
                                                  f"and datname = '{move.name}'"), "applying to meet the lock")
                move.new.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name "
                             f"like 'banyan_apply%' and datname = '{move.name}'")
        blocker.rollback()
        mark(move)
        assert move.new.value("select sum(v) from t", move.name) == 5000
        move.role.kill9()
        slot = move.old.value(f"select slot_name from pg_replication_slots where database = '{move.name}'")
        move.old.run("select pg_terminate_backend(pid) from pg_stat_replication")
        eventually(lambda: not move.old.value(f"select active from pg_replication_slots where slot_name = '{slot}'"), "free")
        move.old.run(f"select pg_drop_replication_slot('{slot}')")
        move.old.run("update t set v = 7", move.name)
        move.old.run(f"select pg_create_logical_replication_slot('{slot}', 'pgoutput')", move.name)
        move.role.start()
        status = eventually(lambda: (s := move.call("status"))["state"] == "failed" and s, "the refusal")
        assert slot in status["error"], status
        assert status["remedy"], status
        assert move.new.value("select sum(v) from t", move.name) == 5000
