"""A role killed before the copy begins starts it again under a new slot and snapshot: what the source's schema
became meanwhile is what the target gets. Once the copy has begun, the same slot and the same tables go on.

    begins_anew.py BANYAN
"""
import os
import pathlib
import sys
import tempfile

import psycopg2

from steps import Pair, eventually

SETUP = """
create type mood as enum ('good', 'bad');
create table item(id int primary key, mood mood default 'good'); create index by_mood on item(mood);
insert into item select g, 'bad' from generate_series(1, 500) g;
create table gone(id int primary key references item); create view v as select id from item;
create type pairs as (a int, b int);
create function as_pair(int) returns pairs language sql as 'select $1, $1';
create cast (int as pairs) with function as_pair(int);
create operator family numbers using btree;
create operator class numbers for type int using btree family numbers as operator 1 <, operator 2 <=, operator 3 =,
  operator 4 >=, operator 5 >, function 1 btint4cmp(int, int);
create foreign data wrapper elsewhere; create server far foreign data wrapper elsewhere;
"""
CHANGE = """
create type size as enum ('small'); alter table item add column size size not null default 'small', add column note text;
create index by_size on item(size); update item set note = 'n' || id where id % 2 = 0;
drop table gone; create table come(id int primary key references item); insert into come select id from item;
"""


def kill_at(pair, checkpoints, point):
    checkpoints.joinpath(point).write_text("kill")
    pair.start()
    eventually(lambda: pair.role.process.poll() is not None, "killed at " + point)


def made(pair):
    return pair.new.value("select 'item'::regclass::oid", "shop")


def assert_fenced(pair):
    """From the first moment the table is there."""
    try:
        pair.new.run("delete from item", "shop")
    except psycopg2.errors.ReadOnlySqlTransaction:
        return
    raise AssertionError("a stranger may write to the new side")


def slot(pair):
    return pair.new.value("select slot from banyan.stream where stream = 'shop:old'", "shop")


def assert_moved(pair):
    pair.wait_following()
    pair.assert_equal(["item", "come"])
    assert pair.verify()["state"] == "equal"
    assert not pair.new.value("select to_regclass('gone')", "shop")
    assert pair.new.value("select to_regclass('by_size')", "shop") and pair.new.value("select count(*) from v", "shop") == 500


def test_a_changed_schema_is_brought_anew(pair, checkpoints, point):
    pair.old.psql(SETUP, "shop")
    kill_at(pair, checkpoints, point)
    assert_fenced(pair)
    before, first_slot = made(pair), slot(pair)
    pair.old.psql(CHANGE, "shop")
    pair.role.start()
    assert_moved(pair)
    assert made(pair) != before and slot(pair) != first_slot


def test_a_begun_copy_goes_on(pair, checkpoints, point):
    pair.old.psql(SETUP + CHANGE, "shop")
    kill_at(pair, checkpoints, point)
    before, first_slot = made(pair), slot(pair)
    pair.role.start()
    assert_moved(pair)
    assert made(pair) == before and slot(pair) == first_slot


def test_what_others_built_on_it_is_not_dropped(pair, checkpoints, point):
    pair.old.psql(SETUP + CHANGE, "shop")
    kill_at(pair, checkpoints, point)
    pair.new.psql("create view theirs as select id from item", "shop")
    pair.role.start()
    eventually(lambda: pair.call("status")["state"] == "failed", "failed")
    status = pair.call("status")
    assert "table public.item" in status["error"] and "start" in status["remedy"], status
    pair.new.psql("drop view theirs", "shop")
    pair.start()
    assert_moved(pair)


def test_a_lost_snapshot_is_made_anew(pair, checkpoints, point):
    pair.old.psql(SETUP + CHANGE, "shop")
    checkpoints.joinpath(point).write_text("delay 1500")
    pair.start()
    eventually(checkpoints.joinpath(point + ".reached").exists, point)
    assert pair.old.value("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'banyan_slot'") == 1
    assert_moved(pair)


def main():
    for test, point in ((test_a_changed_schema_is_brought_anew, "begin.schema_made"),
                        (test_a_changed_schema_is_brought_anew, "schema.pre_data_made"),
                        (test_a_begun_copy_goes_on, "copy.start"),
                        (test_a_lost_snapshot_is_made_anew, "schema.start"),
                        (test_what_others_built_on_it_is_not_dropped, "begin.schema_made")):
        with tempfile.TemporaryDirectory() as directory:
            os.environ["BANYAN_CHECKPOINTS"] = directory
            with Pair(sys.argv[1]) as pair:
                test(pair, pathlib.Path(directory), point)
        print("ok  ", test.__name__, point)


if __name__ == "__main__":
    main()
