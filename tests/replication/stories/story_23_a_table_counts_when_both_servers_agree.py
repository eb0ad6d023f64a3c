"""2 of 450,000 rows were missing and the table was "synchronized"; a cancelled COPY was marked as done.

A COPY that is cut off anywhere leaves no mark; the rows both servers counted are kept and equal. The table is larger than what
sockets hold, and slow: there is a COPY to cut until the throttle is lifted.
"""
import contextlib

import psycopg2

from world import eventually

SETUP = """create table t(id int primary key, v text); insert into t select g, repeat('v', 1500) from generate_series(1, 30000) g;
create table u(a int); insert into u select g from generate_series(1, 30000) g;"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        move.start(throttle={"bytes_per_s": 1_500_000})

        def go_on():
            """The role gives up when a COPY was cancelled, some time after; one that is told to start goes on."""
            if move.call("status")["state"] == "failed":
                world.role.restart()
            return True
        for server in (move.old, move.new, move.old):
            def cut():
                with contextlib.suppress(psycopg2.Error):
                    return go_on() and server.value(f"select count(pg_cancel_backend(pid)) from pg_stat_activity where application_name = 'banyan_copy' and query ilike 'copy%' and state = 'active' and datname = '{move.name}'")
            eventually(cut, "a COPY to cancel", pause_s=0.005)
        world.role.call("throttle", name=move.name, bytes_per_s=0)
        eventually(lambda: go_on() and move.call("status")["state"] == "following", "following")
        said = dict(move.new.run("select table_name, rows from banyan.applied_chunks where chunk = -1", move.name))
        for table in ("t", "u"):
            counted = move.new.value(f"select count(*) from {table}", move.name)
            assert said[f"public.{table}"] == counted == 30000, (table, said, counted)
