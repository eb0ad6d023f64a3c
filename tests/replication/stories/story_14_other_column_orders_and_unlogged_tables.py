"""A child whose inherited columns have another order failed to copy, an unlogged table came empty, and the exit code was 0."""
from world import mark

SETUP = """create table mark(id int primary key); create table a(x int, y text); create table b(y text, z date, x int); alter table b inherit a;
insert into a values (1, 'a'); insert into b values ('b', '2026-01-01', 2);
create unlogged table u(id int primary key, v text); insert into u select g, 'u' || g from generate_series(1, 200) g;"""


def run(world):
    with world.migration(SETUP) as move:
        move.old.run("update a set y = y || '!'; insert into b(x, y) values (3, 'c')", move.name)
        mark(move)
        move.old.run("update u set v = 'late' where id = 7", move.name)
        move.switch()
        for question in ("select tableoid::regclass::text, x, y from a order by x", "select y, z, x from b order by x", "select * from u order by id"):
            assert move.old.run(question, move.name) == move.new.run(question, move.name), question
        assert move.new.value("select relpersistence::text from pg_class where relname = 'u'", move.name) == "u"
