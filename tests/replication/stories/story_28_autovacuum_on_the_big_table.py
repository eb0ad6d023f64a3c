"""An autovacuum worker sits on a moved table at the moment of the fence: it is cancelled, the fence stands.

Others' write block could not get its lock.
"""
from world import eventually

SETUP = """
create table big(id int primary key, v int, t text);
insert into big select g, 0, repeat('x', 200) from generate_series(1, 20000) g;
"""
SLOW = ("autovacuum_enabled = on, autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, "
        "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1")
WORKING = ("select pid from pg_stat_activity where backend_type = 'autovacuum worker' and datname = '{0}' "
           "and query like '%public.big%'")


def run(world):
    with world.migration(SETUP) as move:
        move.call("act.prepare")
        move.old.run(f"alter table big set ({SLOW})", move.name)
        move.old.run("update big set v = v + 1", move.name)
        eventually(lambda: move.old.value(WORKING.format(move.name), move.name), "an autovacuum worker")
        move.switch()
        assert move.active() == "new"
        move.assert_equal(["big"])
