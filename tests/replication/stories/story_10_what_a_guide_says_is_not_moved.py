"""A guide says: numeric becomes (28,6), key updates are unpredictable, TRUNCATE and changes without a key are lost."""
from world import eventually, mark

SETUP = """create table mark(id int primary key); create table n(id int primary key, v numeric);
insert into n select g, (g::text || '.' || repeat('123456789', 9))::numeric from generate_series(1, 100) g;
create table keyless(a int, b text); insert into keyless select g % 3, 'x' from generate_series(1, 30) g;
create table emptied(id int primary key); insert into emptied select generate_series(1, 50);
create table part(id int primary key) partition by range (id); create table part1 partition of part for values from (0) to (10);"""


def run(world):
    with world.migration(SETUP, ddl_every_ms=300) as move:
        move.old.psql("update n set id = id + 1000 where id < 50; update n set id = id - 1; delete from n where id = 60; "
                      "update keyless set b = null where ctid = (select min(ctid) from keyless where a = 1); delete from keyless where a = 2; "
                      "truncate emptied; insert into emptied values (7); create table part2 partition of part for values from (10) to (20); "
                      "insert into part values (1), (11)", move.name)
        # Until the new partition has joined, the stream may stand before its rows.
        eventually(lambda: move.new.value("select to_regclass('part2')", move.name) and move.call("status")["state"] == "following", "the partition")
        mark(move)
        for question in ("select id, v::text from n order by 1", "select a, b, count(*) from keyless group by 1, 2 order by 1, 2", "table emptied",
                         "select tableoid::regclass::text, id from part order by id"):
            assert move.old.run(question, move.name) == move.new.run(question, move.name), question
