"""Large values were cut at a guessed size, tables without a key got duplicates, large objects needed a flow of their own."""
from world import mark

SETUP = """create table mark(id int primary key); create table big(id int primary key, t text, b bytea);
insert into big values (1, repeat('abcdefghij', 300000), decode(repeat('00ff', 700000), 'hex')); create table keyless(a int, b text);
insert into keyless select 1, 'same' from generate_series(1, 50); select lo_from_bytea(4711, decode(repeat('beef', 500000), 'hex'));"""


def run(world):
    with world.migration(SETUP) as move:
        move.old.run("insert into big select 2, t || 'end', b || '\\x01' from big; insert into keyless values (1, 'same'); "
                     "delete from keyless where ctid = (select max(ctid) from keyless); select lo_put(4711, 999999, 'tail')", move.name)
        mark(move)
        move.switch()
        for question in ("select id, md5(t), length(t), md5(b), length(b) from big order by id", "select a, b, count(*) from keyless group by 1, 2",
                         "select md5(lo_get(4711)), length(lo_get(4711))"):
            assert move.old.run(question, move.name) == move.new.run(question, move.name), question
