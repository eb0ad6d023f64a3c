"""A keepalive moves no position past what is received but not applied yet.

Others took the end of the log from a keepalive as progress: everything was "already applied", and nothing was.
"""
from world import Background, eventually, mark

SETUP = """create table t(id int primary key, v int); create table mark(id int primary key);
           insert into t select g, 0 from generate_series(1, 100) g"""


def run(world):
    world.old.run("alter system set wal_sender_timeout = '600ms'")
    world.old.run("select pg_reload_conf()")
    world.old.run("create database keepalives")
    noise = world.old.connect("keepalives")

    def write():
        with noise.cursor() as cursor:
            cursor.execute("create table n(t text); insert into n select repeat(md5(g::text), 20) "
                           "from generate_series(1, 100) g; drop table n")
    with world.migration(SETUP) as move:
        mark(move)
        blocker = move.new.connect(move.name, autocommit=False)
        with blocker.cursor() as cursor:
            cursor.execute("lock table t in access exclusive mode")
            before = move.old.value("select pg_current_wal_insert_lsn()")
            move.old.run("update t set v = 1", move.name)
            after = move.old.value("select pg_current_wal_insert_lsn()")
            unrelated = Background(write)
            # Several keepalives later the log is far beyond, and nothing that was told is.
            eventually(lambda: move.old.value(f"select pg_current_wal_insert_lsn() - '{after}'::pg_lsn > 10000000"), "noise")
            told = move.old.value(f"select confirmed_flush_lsn < '{after}'::pg_lsn from pg_replication_slots "
                                  f"where database = '{move.name}'")
            kept = move.new.value(f"select lsn < '{after}'::pg_lsn from banyan.progress "
                                  f"where part = 0 and stream = '{move.name}:old'", move.name)
            assert told and kept, (before, after, told, kept)
            # A restart in this state must find the work again.
            move.role.kill9()
        blocker.rollback()
        unrelated.stop()
        move.role.start()
        mark(move)
        assert move.new.value("select sum(v) from t", move.name) == 100
    noise.close()
    world.old.run("alter system reset wal_sender_timeout")
    world.old.run("select pg_reload_conf()")
    world.old.run("drop database keepalives with (force)")
