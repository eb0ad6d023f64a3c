"""What is reported as applied is the row in the target database, also while applying stands still.

Others overwrote the position that cut-over scripts read with the one they wished for.
"""
from world import eventually, mark

SETUP = "create table t(id int primary key, v int); create table mark(id int primary key)"


def run(world):
    with world.migration(SETUP) as move:
        def kept():
            return move.new.value(f"select lsn from banyan.progress where part = 0 and stream = '{move.name}:old'", move.name)

        def told():
            return move.call("status")["stream"]["applied_lsn"]
        for number in range(20):
            move.old.run(f"insert into t values ({number}, 0)", move.name)
            mark(move)
            eventually(lambda: told() == kept(), "the report to be what is kept")
        blocker = move.new.connect(move.name, autocommit=False)
        with blocker.cursor() as cursor:
            cursor.execute("lock table t in access exclusive mode")
            before = kept()
            move.old.run("update t set v = 1; select pg_switch_wal()", move.name)
            eventually(lambda: move.call("status")["stream"]["lag_bytes"] > 0, "lag")
            assert told() == kept() == before, (told(), kept(), before)
        blocker.rollback()
        mark(move)
