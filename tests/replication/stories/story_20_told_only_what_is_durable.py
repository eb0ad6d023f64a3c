"""The source is told only what the target has on disk: a crash of the target loses nothing.

Others acknowledged work that was not durable; the slot had then forgotten it.
"""
from world import Background, eventually, mark

SETUP = """create table mark(id int primary key); create table t(id bigserial primary key, v int)"""


def run(world):
    world.new.run("alter system set wal_writer_delay = '5s'")  # asynchronous commits stay in memory for long
    world.new.run("alter system set wal_writer_flush_after = '1GB'")
    world.new.run("select pg_reload_conf()")
    with world.migration(SETUP) as move:
        session = move.old.connect(move.name)

        def write():
            with session.cursor() as cursor:
                cursor.execute("insert into t(v) values (1)")
        for _ in range(2):
            writer = Background(write)
            count = move.new.value("select count(*) from t", move.name)
            eventually(lambda: move.new.value("select count(*) from t", move.name) > count + 50, "some rows")
            move.new.kill9()
            told = move.old.value(f"select confirmed_flush_lsn from pg_replication_slots where database = '{move.name}'")
            move.new.start()
            safe = move.new.value(f"select lsn >= '{told}'::pg_lsn from banyan.progress "
                                  f"where part = 0 and stream = '{move.name}:old'",
                                  move.name)
            assert safe, "the source was told more than the crashed target had kept"
            writer.stop()
        mark(move)
        rows = "select count(*), sum(id) from t"
        assert move.old.run(rows, move.name) == move.new.run(rows, move.name)
        session.close()
    for setting in ("wal_writer_delay", "wal_writer_flush_after"):
        world.new.run(f"alter system reset {setting}")
    world.new.run("select pg_reload_conf()")
