"""A whole migration under a mapping: a table and its columns renamed, a column left out, rows by a condition. The new
side's tables are made by it; preflight refuses what could not work or not come back; verification finds a sabotaged row
and repair mends it; the switch happens under load; what is written on the new side comes back; the rows that never
moved are as they were.

    mapped_switch.py BANYAN
"""
import sys
import time

from steps import Pair, eventually, past_the_fence
from stories.world import Background

SETUP = """
create table orders(id serial primary key, tenant int not null, secret text, note text, unique (note));
create index orders_secret on orders(secret); create index orders_tenant on orders(tenant);
insert into orders(tenant, secret, note) select g % 3, 's' || g, 'n' || g from generate_series(1, 900) g;
create table people(id serial primary key, name text, boss int references people);
insert into people(name, boss) select 'name ' || g, nullif(g / 10, 0) from generate_series(1, 200) g;
create table plain(id int primary key, person int references people); insert into plain select g, g from generate_series(1, 50) g;
create function speaks() returns bigint language sql as 'select count(*) from public.people';
create table strict(id int primary key, needed text not null); create table bag(a int, b int);
create table seen(id int primary key, v int); create view looks as select v from seen;
create table parent(id int primary key, v int); create table child() inherits (parent);
"""
MAP = [{"table": "orders", "without": ["secret"], "where": "tenant = 1"},
       {"table": "people", "to": "hr.staff", "columns": {"id": "staff_id", "name": "called"}}]
TABLES = ["public.orders", "public.people", "public.plain"]
OLD = {"orders": "select id, tenant, note from orders where tenant = 1 order by 1",
       "people": "select id, name, boss from people order by 1", "plain": "select * from plain order by 1"}
NEW = {"orders": "select id, tenant, note from orders order by 1",
       "people": "select staff_id, called, boss from hr.staff order by 1", "plain": "select * from plain order by 1"}
# a mapping that cannot work, and the check that says so
WRONG = [
    ("map.tables", {"table": "nothing"}),
    ("map.columns", {"table": "people", "columns": {"nmae": "called"}}),
    ("map.names", {"table": "people", "columns": {"name": "boss"}}),
    ("map.where", {"table": "orders", "where": "tenant = = 1"}),
    ("map.where", {"table": "orders", "where": "tenant = (select 1)"}),
    ("map.where_columns", {"table": "orders", "without": ["secret"], "where": "secret = 's1'"}),
    ("map.key", {"table": "orders", "without": ["id"]}),
    ("map.key", {"table": "bag", "without": ["b"]}),
    ("map.back", {"table": "strict", "without": ["needed"]}),
    ("map.dependents", {"table": "seen", "without": ["v"]}),
    ("map.family", {"table": "parent", "columns": {"v": "w"}}),
    ("map.target", {"table": "plain", "to": "taken"}),
    ("map.indexes", {"table": "orders", "without": ["secret"]}),
    ("map.routines", {"table": "people", "to": "hr.staff"}),
    ("map.rows", {"table": "orders", "where": "tenant = 1"}),
]


def test_preflight(pair):
    pair.new.psql("create table taken(id int)", "shop")

    def failed(mapping):
        config = pair.config(map=mapping)
        return {c["id"]: c for c in pair.call("preflight", config=config)["checks"]
                if c["id"].startswith("map.") and not c["ok"]}
    for check, entry in WRONG:
        found = failed([entry])
        assert check in found and found[check]["detail"], (check, entry, found)
    assert set(failed(MAP)) == {"map.indexes", "map.routines", "map.rows"}, failed(MAP)
    assert not failed([{"table": "plain", "columns": {"id": "number"}}])
    pair.new.psql("drop table taken", "shop")


def assert_same(pair):
    def same():
        return all(pair.old.run(OLD[t], "shop") == pair.new.run(NEW[t], "shop") for t in OLD)
    try:
        eventually(same, "equal parts", 40)
    except TimeoutError:
        raise AssertionError([(t, set(pair.old.run(OLD[t], "shop")) ^ set(pair.new.run(NEW[t], "shop")))
                              for t in OLD] + [pair.call("status")]) from None


def test_shape(pair):
    def names(kind):
        return {row[0] for row in pair.new.run(f"select c.oid::regclass::text from pg_class c join pg_namespace n on "
                                               f"n.oid = relnamespace where relkind = '{kind}' and nspname in "
                                               "('public', 'hr')", "shop")}
    assert {"orders", "hr.staff", "plain"} <= names("r") and "people" not in names("r"), names("r")
    assert {"hr.people_pkey", "orders_tenant"} <= names("i") and "orders_secret" not in names("i"), names("i")
    assert "hr.people_id_seq" in names("S"), names("S")
    keys = pair.new.run("select conrelid::regclass::text, confrelid::regclass::text from pg_constraint where "
                        "contype = 'f' and convalidated order by 1", "shop")
    assert keys == [("hr.staff", "hr.staff"), ("plain", "hr.staff")], keys
    fenced = pair.new.run("select tgrelid::regclass::text from pg_trigger where tgname = 'banyan_fence'", "shop")
    assert {("orders",), ("hr.staff",)} <= set(fenced), fenced


def test_sabotage(pair):
    past_the_fence(pair.new, "update hr.staff set called = 'other' where staff_id = 7; delete from orders where id = 1")
    verdict = pair.verify()
    wrong = {(t["table"], t["table_there"]): [d["key"] for d in t["differences"]]
             for t in verdict["tables"] if not t["equal"]}
    assert wrong == {("public.people", "hr.staff"): ["(7)"], ("public.orders", "public.orders"): ["(1)"]}, wrong
    done = eventually(lambda: (a := pair.call("repair", wait_ms=2000))["state"] != "running" and a, "repair")
    assert done["state"] == "repaired" and done["rows"] == 2, done
    assert {t["table_there"] for t in done["tables"]} == {"hr.staff", "public.orders"}, done
    assert pair.verify()["state"] == "equal"


def switch(pair):
    """The act while the application writes; it is refused from the fence on, and counts what was taken."""
    taken = []
    serving = {"side": "old"}
    sessions = {side: pair.side(side).connect("shop") for side in ("old", "new")}
    sql = {"old": "insert into people(name) values ('load') returning id",
           "new": "insert into hr.staff(called) values ('load') returning staff_id"}

    def write():
        try:
            with sessions[serving["side"]].cursor() as cursor:
                cursor.execute(sql[serving["side"]])
                taken.append(cursor.fetchone()[0])
        except Exception as error:  # closed by the fence
            assert "closed for writing" in str(error), error
            serving["side"] = pair.active()
        time.sleep(0.002)
    serving["side"] = pair.active()
    load = Background(write)
    pair.switch()
    eventually(lambda: serving["side"] == pair.active(), "the load moved")
    load.stop()
    assert len(taken) == len(set(taken)) > 0, len(taken)
    return taken


def test_there_and_back(pair):
    untouched = "select id, tenant, secret, note from orders where tenant <> 1 order by 1"
    before = pair.old.run(untouched, "shop")
    secrets = pair.old.run("select id, secret from orders where tenant = 1 order by 1", "shop")
    taken = switch(pair)
    assert pair.active() == "new"
    pair.new.run("insert into orders(tenant, note) values (1, 'new'); update hr.staff set called = 'renamed' "
                 "where staff_id = 9; update orders set note = note || '!' where id % 5 = 0; "
                 "delete from orders where id = 4; insert into plain values (999, 3)", "shop")
    for outside in ("insert into orders(tenant, note) values (2, 'outside')", "update orders set tenant = 2"):
        try:
            pair.new.run(outside, "shop")
            raise AssertionError("a row outside the condition was taken")
        except Exception as error:
            assert "banyan_rows" in str(error), error
    assert_same(pair)
    proof = eventually(lambda: (p := pair.call("status")["proof"])["state"] not in ("held", "running") and p, "proof")
    assert proof["state"] == "equal", proof
    assert pair.verify()["state"] == "equal"
    assert pair.old.run(untouched, "shop") == before
    kept = dict(pair.old.run("select id, secret from orders where tenant = 1", "shop"))
    assert all(kept[i] == s for i, s in secrets if i != 4), "a column that is left out was touched"
    taken += switch(pair)
    assert pair.active() == "old"
    assert_same(pair)
    assert pair.verify()["state"] == "equal"
    rows = {row[0] for row in pair.old.run("select id from people where name = 'load'", "shop")}
    assert rows == set(taken), len(rows ^ set(taken))
    # A TRUNCATE on the new side goes back as the removal of what is its own.
    switch(pair)
    pair.new.run("truncate orders", "shop")
    assert_same(pair)
    assert pair.old.run(untouched, "shop") == before


def test_end(pair):
    pair.call("complete")
    pair.new.run("insert into orders(tenant, note) values (2, 'free')", "shop")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        test_preflight(pair)
        print("ok   test_preflight")
        pair.old.psql("drop view looks; drop table strict, bag, seen, parent, child", "shop")
        pair.start(map=MAP)
        pair.wait_following()
        assert_same(pair)
        for test in (test_shape, test_sabotage, test_there_and_back, test_end):
            test(pair)
            print("ok  ", test.__name__)


if __name__ == "__main__":
    main()
