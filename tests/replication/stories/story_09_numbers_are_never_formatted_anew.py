"""Floats were printed with six digits, int8 as 2.12902e+06, numerics rounded; with full identity no row was met then.

Numbers arrive to the last bit, and rows are found by them.
"""
from world import mark

SETUP = """create table mark(id int primary key);
create table t(f float8, r float4, i int8, n numeric, m numeric(40, 20)); alter table t replica identity full;
insert into t values (0.1::float8 + 0.2, 16777217, 2129020000000001, 1.10, 12345678901234567890.12345678901234567890),
 (1e-310, 1.17549435e-38, -9223372036854775808, 1e-1000, 0), ('NaN', 'Infinity', 0, 'NaN', null), (1.7976931348623157e308, 3.4028235e38, 9007199254740993, 10::numeric ^ 1000, 1);"""


def run(world):
    with world.migration(SETUP) as move:
        for change in ("update t set i = i + 1 where i = 2129020000000001", "update t set n = n * 1.0 where f = 1e-310", "delete from t where f = 'NaN'",
                       "insert into t select f / 3, r / 3, i - 1, n / 3, m / 3 from t where i < 3000000000000000 and i > 0"):
            move.old.run(change, move.name)
        mark(move)
        question = "select float8send(f)::text, float4send(r)::text, i, n::text, m::text from t order by i, 1"
        assert move.old.run(question, move.name) == move.new.run(question, move.name)
        assert move.call("status")["state"] == "following"
