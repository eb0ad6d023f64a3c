"""A partition manager made partitions while a database was followed, and the switch was impossible from then on."""
from world import Background, eventually, mark

SETUP = """create table mark(id int primary key); create table log(id bigserial, day date, t text, primary key (id, day)) partition by range (day);
create table log_1 partition of log for values from ('2026-01-01') to ('2026-01-02');"""


def run(world):
    with world.migration(SETUP, ddl_every_ms=200) as move:
        writer = Background(lambda: move.old.run("insert into log(day, t) values ('2026-01-01', 'x')", move.name))
        for day in range(2, 6):
            move.old.run(f"create table log_{day} partition of log for values from ('2026-01-0{day}') to ('2026-01-0{day + 1}'); "
                         f"insert into log(day, t) select '2026-01-0{day}', 'first' from generate_series(1, 20); update log set t = 'u' where day = '2026-01-0{day}' and id % 3 = 0", move.name)
        writer.stop()
        # Until the new partition has joined, the stream may stand before its rows.
        eventually(lambda: move.new.value("select to_regclass('log_5')", move.name) and move.call("status")["state"] == "following", "the partition")
        mark(move)
        question = "select tableoid::regclass::text, * from log order by id"
        assert move.old.run(question, move.name) == move.new.run(question, move.name)
        move.switch()
        move.new.run("insert into log(day, t) values ('2026-01-05', 'new side')", move.name)
        mark(move, "new")
        assert move.old.run(question, move.name) == move.new.run(question, move.name)
