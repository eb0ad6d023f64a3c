"""A table was added to a publication while a transaction wrote to it: its later changes were lost.

The addition waits for writers; what they wrote is in the copy, what comes later is in the stream.
"""
from world import eventually, mark

SETUP = "create table mark(id int primary key); create table t(id int primary key);"


def run(world):
    with world.migration(SETUP, ddl_every_ms=200) as move:
        move.old.run("create table late(id int primary key, v int)", move.name)
        open_one = move.old.connect(move.name, autocommit=False)
        with open_one.cursor() as cursor:
            cursor.execute("insert into late select g, 0 from generate_series(1, 100) g")
            eventually(lambda: move.new.value("select to_regclass('late')", move.name), "the table")
            cursor.execute("update late set v = 1 where id <= 50; delete from late where id = 99")
            move.old.run("insert into late values (1000, 5)", move.name)
        open_one.commit()
        open_one.close()
        move.old.run("update late set v = v + 10 where id % 2 = 0", move.name)
        eventually(lambda: move.new.value("select count(*) from late", move.name) == 100, "its rows")
        mark(move)
        assert move.old.run("table late order by id", move.name) == move.new.run("table late order by id", move.name)
        assert move.verify()["state"] == "equal"
