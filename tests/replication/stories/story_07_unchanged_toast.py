"""A value that was not changed is not sent, and is kept: with every replica identity, with and without a new key.

Others wrote the words `unchanged-toast-datum` into the column.
"""
from world import mark

IDENTITIES = {"plain": "default", "whole": "full", "indexed": "using index indexed_u"}


def run(world):
    setup = "create table mark(id int primary key);"
    for table, identity in IDENTITIES.items():
        setup += (f"create table {table}(id int primary key, u int not null, big text, v int);"
                  f"alter table {table} alter big set storage external;"
                  f"create unique index {table}_u on {table}(u); alter table {table} replica identity {identity};"
                  f"insert into {table} select g, g, repeat(chr(64 + g), 9000), 0 from generate_series(1, 20) g;")
    with world.migration(setup) as move:
        for table in IDENTITIES:
            move.old.psql(f"""
                update {table} set v = 1 where id = 1; update {table} set id = 102 where id = 2;
                update {table} set u = 103 where id = 3; update {table} set id = 104, u = 104, v = 4 where id = 4;
                begin; update {table} set big = repeat('new', 3000) where id = 5; update {table} set v = 5 where id = 5;
                update {table} set id = 105 where id = 5; commit;
                begin; delete from {table} where id = 6; insert into {table} values (6, 6, repeat('again', 2000), 6);
                update {table} set v = 7 where id = 6; commit;
                update {table} set id = id + 1000, u = u + 1000 where id between 10 and 20;
                update {table} set big = null where id = 7; update {table} set big = '' where id = 8;""", move.name)
        mark(move)
        for table in IDENTITIES:
            rows = f"select t::text from {table} t order by 1"
            assert move.old.run(rows, move.name) == move.new.run(rows, move.name), table
            assert not move.new.value(f"select count(*) from {table} where big like '%unchanged%'", move.name)
