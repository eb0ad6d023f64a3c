"""Some tables of a database move, the rest of it goes on: types, sequences and triggers come along, only
the moved tables are fenced, and the way back works as well."""
import sys

from steps import Pair

SETUP = """
create type state as enum ('open', 'paid');
create schema sales;
create table users(id serial primary key, name text); insert into users(name) select 'u' || g from generate_series(1, 100) g;
create table sales.orders(id serial primary key, s state default 'open', total numeric);
create table sales.item(id int primary key, o int references sales.orders, n int);
insert into sales.orders(total) select g from generate_series(1, 500) g;
insert into sales.item select g, g, 1 from generate_series(1, 500) g;
"""


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.call("start", config={"source": pair.old.url("shop"), "target": pair.new.url("shop"),
                                   "tables": ["sales.orders", "sales.item"], "jobs": 2})
        pair.wait_following()
        for turn in range(2):
            active = pair.side(pair.active())
            active.run("update sales.orders set s = 'paid' where id % 2 = 0; "
                       "insert into sales.orders(total) values (1); delete from sales.item where id = "
                       "(select min(id) from sales.item)", "shop")
            pair.assert_equal(["sales.orders", "sales.item"])
            pair.switch()
            pair.old.run("update users set name = name || '!' where id = 1", "shop")  # never fenced
        assert not pair.new.value("select to_regclass('public.users')", "shop")
        assert pair.verify()["state"] == "equal"
        print("ok")


if __name__ == "__main__":
    main()
