"""COPY by somebody whom row security applies to gave no row and no error: the copy was empty and "complete".

All rows are copied, or it fails and says why.
"""
from world import eventually, mark

SETUP = """create table mark(id int primary key); create table t(id int primary key, v int);
insert into t select g, g from generate_series(1, 500) g; alter table t enable row level security; alter table t force row level security;
create policy few on t using (id < 3);"""


def run(world):
    with world.migration(SETUP) as move:
        move.old.run("insert into t values (1000, 1); update t set v = 0 where id > 400", move.name)
        mark(move)
        assert move.new.run("select count(*), sum(v) from t", move.name) == move.old.run("select count(*), sum(v) from t", move.name)
    world.old.run("create role seer login replication")
    world.new.run("create role seer login replication superuser")
    with world.migration(SETUP, begin=False) as move:
        world.old.psql(f"grant create on database {move.name} to seer; grant create on schema public to seer; alter table t owner to seer; alter table mark owner to seer; "
                       "grant set on parameter session_replication_role to seer", move.name)
        move.start("seer")
        status = eventually(lambda: (s := move.call("status")).get("error") and s, "an error")
        assert "row-level security" in status["error"] or "row security" in status["error"], status
        assert status["state"] != "following", status
        copied = move.new.run("select to_regclass('t') is not null and exists (select 1 from banyan.applied_chunks where table_name = 'public.t')", move.name)
        assert copied == [(False,)], copied
    for server in (world.old, world.new):
        server.run("drop owned by seer; drop role seer")
