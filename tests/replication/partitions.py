"""Partitions: leaf to leaf as they are, and through a root that is partitioned in another way on the new side (by hash
instead of by month; a plain table into partitions; partitions into a plain table). Copy, stream with rows that move
between partitions, verification, switch, and all of it back. What cannot work is named by preflight.

    partitions.py BANYAN
"""
import sys

from steps import Pair

MONTHS = "".join(f"create table {{0}}_{m} partition of {{0}} for values from ('2026-{m:02}-01') to ('2026-{m + 1:02}-01');"
                 for m in range(1, 5))
SETUP = """
create table mark(id int primary key);
create table same(id int, day date, note text, primary key (id, day)) partition by range (day);
create table event(id int, day date, note text, primary key (id, day)) partition by range (day);
create table plain(id int primary key, note text);
create table parts(id int primary key, note text) partition by range (id);
create table parts_1 partition of parts for values from (0) to (100); create table parts_2 partition of parts default;
""" + MONTHS.format("same") + MONTHS.format("event") + """
insert into same select g, date '2026-01-01' + g % 120, 'n' || g from generate_series(1, 400) g;
insert into event table same;
insert into plain select g, 'p' || g from generate_series(1, 300) g; insert into parts select * from plain;
"""
THERE = """
create table event(note text, id int, day date, primary key (id, day)) partition by hash (id);
create table event_h0 partition of event for values with (modulus 2, remainder 0);
create table event_1 partition of event for values with (modulus 2, remainder 1);
create table plain(id int primary key, note text) partition by range (id);
create table plain_1 partition of plain for values from (0) to (150); create table plain_2 partition of plain default;
create table parts(id int primary key, note text);
"""
MAP = [{"table": "event"}, {"table": "plain"}, {"table": "parts"}]
CHANGES = """
update {0} set day = day + 31 where id % 5 = 0 and day < '2026-04-01'; update {0} set note = note || '!' where id % 3 = 0;
update {0} set id = id + 5000 where id % 11 = 0; delete from {0} where id % 7 = 0;
insert into {0}(id, day, note) select g, '2026-03-03', repeat('x', 3000) from generate_series({1}, {1} + 50) g;
"""
NUMBERED = """
update {0} set id = id + 600 where id % 10 = 9; update {0} set note = 'm' where id % 4 = 0; delete from {0} where id % 13 = 0;
insert into {0} select g, 'new' from generate_series({1}, {1} + 20) g;
"""
COLUMNS = {"same": "id, day, note", "event": "id, day, note", "plain": "id, note", "parts": "id, note"}


def change(server, base):
    for table in ("same", "event"):
        server.psql(CHANGES.format(table, base), "shop")
    for table in ("plain", "parts"):
        server.psql(NUMBERED.format(table, base), "shop")


def assert_equal(pair):
    pair.assert_equal([f"(select {columns} from {table})" for table, columns in COLUMNS.items()])
    verdict = pair.verify()
    assert verdict["state"] == "equal", verdict
    named = {table["table"].replace("public.", "") for table in verdict["tables"]}
    assert {"event", "plain", "parts", "same_1"} <= named or {"event", "plain", "parts_1", "same_1"} <= named, named


def findings(pair, **more):
    return {check["id"]: check for check in pair.call("preflight", config=pair.config(**more))["checks"]}


def test_preflight(pair):
    unmapped = findings(pair)
    assert "event" in unmapped["target.empty"]["detail"], unmapped["target.empty"]
    mapped = findings(pair, map=MAP)
    wrong = [check for check in mapped.values() if not check["ok"] and check["severity"] == "must"]
    assert not wrong, wrong
    assert "event" in mapped["map.parts"]["detail"], mapped["map.parts"]
    pair.old.psql("create table keyless(id int) partition by hash (id)", "shop")
    keyless = findings(pair, map=[*MAP, {"table": "keyless"}])
    assert "primary key" in keyless["map.partitioned"]["detail"], keyless["map.partitioned"]
    pair.old.psql("drop table keyless; create table late(id int primary key)", "shop")
    pair.new.psql("create table late(id int) partition by hash (id)", "shop")
    late = findings(pair, map=[*MAP, {"table": "late"}])
    assert "primary key" in late["map.partitioned_there"]["detail"], late["map.partitioned_there"]
    pair.old.psql("drop table late", "shop")
    pair.new.psql("drop table late", "shop")
    leaf = findings(pair, map=[{"table": "event_1"}])
    assert "child of" in leaf["map.family"]["detail"], leaf["map.family"]
    print("ok   preflight")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.new.psql(THERE, "shop")
        test_preflight(pair)
        pair.start(map=MAP, copy_mode="chunk", chunk_bytes=4096)
        pair.wait_following()
        assert_equal(pair)
        assert pair.new.value("select count(*) from event_h0", "shop") > 0
        assert pair.new.value("select to_regclass('event_2') is null and to_regclass('same_2') is not null", "shop")
        print("ok   copy")
        change(pair.old, 10000)
        assert_equal(pair)
        print("ok   stream")
        pair.switch()
        change(pair.new, 20000)
        assert_equal(pair)
        pair.new.run("truncate event", "shop")
        assert_equal(pair)
        print("ok   switch, and the stream back")
        pair.switch()
        change(pair.old, 30000)
        assert_equal(pair)
        print("ok   back")


if __name__ == "__main__":
    main()
