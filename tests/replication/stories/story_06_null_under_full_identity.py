"""Rows with NULLs in a table without a key are found, exactly one for each change.

Others wrote `WHERE kms = NULL`, which matches nothing, silently.
"""
from world import mark

SETUP = """create table mark(id int primary key); create table t(a int, kms int, f float8, j json, p point);
  insert into t values (1, null, 0.1, '{"a": 1}', '(1,2)'), (1, null, 0.1, '{"a": 1}', '(1,2)'),
    (null, null, null, null, null), (2, 5, 'NaN', null, null), (2, 5, 1e-300, null, null)"""


def run(world):
    with world.migration(SETUP) as move:
        move.old.run("update t set a = 7 where ctid = (select min(ctid) from t where a = 1)", move.name)
        move.old.run("delete from t where a = 1", move.name)
        move.old.run("update t set kms = 3 where a is null", move.name)
        move.old.run("delete from t where f = 'NaN'; update t set f = 2e-300 where f = 1e-300", move.name)
        mark(move)
        rows = "select t::text from t order by 1"
        assert move.old.run(rows, move.name) == move.new.run(rows, move.name)
        assert len(move.new.run(rows, move.name)) == 3
