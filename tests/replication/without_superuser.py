"""The whole migration with ordinary roles: REPLICATION, ownership of the tables and CREATE on the database. The right to
set session_replication_role is needed only where triggers or foreign keys act by themselves. No superuser anywhere."""
import sys

from steps import Pair

ROLES = """
create role mover login replication; create role shop login;
grant shop to mover; grant create on database shop to mover; alter schema public owner to shop;
"""
MAY_SET = "grant set on parameter session_replication_role to mover;"
PLAIN = """
set role shop;
create table parent(id int primary key, v int); insert into parent select g, g from generate_series(1, 1000) g;
create table child(id bigserial primary key, p int references parent deferrable initially deferred, n text unique);
insert into child(p, n) select 2, 'n' || g from generate_series(1, 1000) g;
create table bag(a int, b text); insert into bag values (1, 'x'), (1, 'x');
"""
ACTING = """
set role shop;
create table parent(id int primary key, v int); insert into parent select g, g from generate_series(1, 1000) g;
create table child(id bigserial primary key, p int references parent on delete cascade, n text);
insert into child(p, n) select g, 'n' from generate_series(1, 1000) g;
create table bag(a int, b text); insert into bag values (1, 'x'), (1, 'x');
create function note() returns trigger language plpgsql as $$ begin new.n := new.n || '+'; return new; end $$;
create trigger note before insert or update on child for each row execute function note();
"""


def migrate(banyan, rights, tables):
    with Pair(banyan) as pair:
        for server in (pair.old, pair.new):
            server.run(ROLES + rights, "shop")
        pair.old.psql(tables, "shop")
        config = {"source": pair.old.url("shop", "mover"), "target": pair.new.url("shop", "mover"),
                  "tables": "all", "jobs": 2}
        failed = [c for c in pair.call("preflight", config=config)["checks"]
                  if not c["ok"] and c["severity"] == "must"]
        assert not failed, failed
        pair.call("start", config=config)
        pair.wait_following()
        for _ in range(2):
            active = pair.side(pair.active())
            active.psql("set role shop; delete from parent where id % 10 = 1; insert into child(p, n) values (5, 'd');"
                        "insert into parent values (1), (11), (21), (31); delete from bag where ctid = "
                        "(select min(ctid) from bag); insert into bag values (1, 'x')"
                        if active is pair.old else
                        "delete from child where p = 2; delete from parent where id % 10 in (1, 2);"
                        "insert into child(p, n) values (6, 'e')", "shop")
            pair.assert_equal(["parent", "child", "bag"])
            pair.switch()
        assert pair.verify()["state"] == "equal"
        assert not pair.call("status").get("tripwire"), pair.call("status")


def main():
    for name, rights, tables in (("replication and ownership only", "", PLAIN), ("with triggers", MAY_SET, ACTING)):
        migrate(sys.argv[1], rights, tables)
        print("ok  ", name)


if __name__ == "__main__":
    main()
