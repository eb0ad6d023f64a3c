"""Known from PostgreSQL's own bugs: an identity that changed, fast defaults as NULL, dropped and generated columns under full identity."""
from world import mark

SETUP = """create table mark(id int primary key);
create table fast(a int); insert into fast values (1), (2), (2); alter table fast add column d int default 7; alter table fast add column e text default 'e'; alter table fast replica identity full;
create table holed(gone int, a int, b int generated always as (a * 2) stored, dead text); insert into holed(gone, a) values (1, 1), (2, 2); alter table holed drop column gone; alter table holed drop column dead; alter table holed replica identity full;
create table ident(id int primary key, u int not null unique, v int); insert into ident select g, g * 10, 0 from generate_series(1, 20) g; create unlogged table never(a int); create temp table tmp(a int);"""


def run(world):
    with world.migration(SETUP) as move:
        move.old.psql("update fast set d = 8 where a = 1; delete from fast where ctid = (select min(ctid) from fast where a = 2); update holed set a = 5 where a = 1; delete from holed where a = 2; "
                      "update ident set v = 1 where id < 5; alter table ident replica identity using index ident_u_key; update ident set u = u + 1, v = 2 where id between 5 and 8; "
                      "delete from ident where id = 9; alter table ident replica identity full; update ident set v = 3 where u > 150; alter table ident replica identity default; update ident set id = id + 100 where id = 10; "
                      "insert into never values (1)", move.name)
        mark(move)
        for table in ("fast", "holed", "ident"):
            assert sorted(move.old.run(f"select t::text from {table} t", move.name)) == sorted(move.new.run(f"select t::text from {table} t", move.name)), table
        assert move.call("status")["state"] == "following"
