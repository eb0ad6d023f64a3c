"""What is moved of a table, and under which name: rows by a condition, columns left out, a table and a column renamed;
in the copy and in the stream alike, with rows that come under the condition and leave it.

    mapping.py BANYAN
"""
import sys

from steps import Pair, eventually

SETUP = """
create table orders(id int primary key, tenant int, secret text, note text);
alter table orders alter note set storage external;
insert into orders select g, g % 3, 'secret', repeat('n', 3000) from generate_series(1, 300) g;
create table people(id int primary key, name text, born date);
insert into people select g, 'name ' || g, '2000-01-01' from generate_series(1, 50) g;
create table mark(id int primary key);
"""
THERE = "create schema hr; create table hr.staff(staff_id int primary key, called text, born date)"
MAP = [{"table": "orders", "without": ["secret"], "where": "tenant = 1"},
       {"table": "public.people", "to": "hr.staff", "columns": {"id": "staff_id", "name": "called"}}]
CHANGES = """
update orders set note = 'short' where id % 10 = 0;
update orders set tenant = 1 where id in (3, 6);          -- come under the condition
update orders set tenant = 2 where id in (1, 4);          -- leave it
update orders set secret = 'other';
update orders set id = id + 1000 where id between 100 and 120;
delete from orders where id between 40 and 60;
insert into orders values (2000, 1, 's', 'in'), (2001, 2, 's', 'out');
update people set id = id + 100, name = name || '!' where id % 2 = 0;
delete from people where id % 7 = 0;
insert into people values (900, 'new', null);
"""


def compare(pair):
    def same():
        return (pair.old.run("select id, tenant, note from orders where tenant = 1 order by 1", "shop")
                == pair.new.run("select id, tenant, note from orders order by 1", "shop")
                and pair.old.run("select id, name, born from people order by 1", "shop")
                == pair.new.run("select * from hr.staff order by 1", "shop"))
    try:
        eventually(same, "equal parts", 30)
    except TimeoutError:
        raise AssertionError((pair.call("status"), pair.new.run("select id, tenant from orders order by 1", "shop")[:20],
                              pair.new.run("select * from hr.staff order by 1", "shop")[:5])) from None
    assert not pair.new.run("select 1 from pg_attribute where attrelid = 'orders'::regclass and attname = 'secret'", "shop")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.new.psql(THERE, "shop")
        pair.start(map=MAP)
        pair.wait_following()
        compare(pair)
        print("ok   copy")
        pair.old.psql(CHANGES, "shop")
        compare(pair)
        print("ok   stream")


if __name__ == "__main__":
    main()
