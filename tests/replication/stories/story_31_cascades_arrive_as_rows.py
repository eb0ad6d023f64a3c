"""Changes were applied before the keys existed that would have cascaded, and children stayed without parents.

What cascaded on the source arrives as rows; nothing cascades a second time.
"""
from world import Background, mark

SETUP = """create table mark(id int primary key); create table p(id int primary key); create table c(id int primary key, p int references p on delete cascade on update cascade);
create table g(id int primary key, c int references c on delete set null); insert into p select generate_series(1, 3000); insert into c select i, i from generate_series(1, 3000) i;
insert into g select i, i from generate_series(1, 3000) i;"""


def run(world):
    with world.migration(SETUP, begin=False) as move:
        writer = Background(lambda: move.old.run("delete from p where id = (select min(id) from p); update p set id = -id where id = (select max(id) from p where id > 0)", move.name))
        move.start()
        move.wait_following()
        writer.stop()
        move.old.run("delete from p where id < 100 and id > 0", move.name)
        mark(move)
        for table in ("p", "c", "g"):
            assert move.old.run(f"table {table} order by 1", move.name) == move.new.run(f"table {table} order by 1", move.name), table
        assert not move.new.run("select 1 from c left join p on p.id = c.p where p.id is null", move.name)
        assert not move.new.run("select 1 from pg_constraint where contype = 'f' and not convalidated", move.name)
