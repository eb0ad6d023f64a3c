"""Every role is fenced, not one of them; sequences go on behind the last value given, not behind max(column).

Others made one user read-only, and set sequences to the largest value left in the table.
"""
import psycopg2

ROLES = [f"app{n}" for n in range(5)]
SETUP = """
create table t(id bigserial primary key, v int); create table odd(id int primary key);
create sequence down increment by -3 start with -10; create sequence by_ten increment by 10 cache 20;
create sequence never_used; create sequence turning maxvalue 100 cycle;
insert into t(v) select g from generate_series(1, 500) g; delete from t where id > 300;
select nextval('down'), nextval('down'), nextval('by_ten'), nextval('turning');
grant all on all tables in schema public to public; grant all on all sequences in schema public to public;
"""


def refused_for(server, database, user):
    session = server.connect(database, user=user)
    try:
        with session.cursor() as cursor:
            cursor.execute("insert into t(id, v) values (-1, 1)")
        return False
    except psycopg2.errors.ReadOnlySqlTransaction:
        return True
    finally:
        session.close()


def run(world):
    for server in (world.old, world.new):
        for role in ROLES:
            server.run(f"create role {role} login")
        server.run(f"alter role {ROLES[0]} superuser; alter role {ROLES[1]} set default_transaction_read_only = off")
    with world.migration(SETUP) as move:
        given = {name: move.old.value(f"select nextval('{name}')", move.name)
                 for name in ("t_id_seq", "down", "by_ten", "turning")}
        for side, other in (("old", "new"), ("new", "old")):
            move.switch()
            for role in [*ROLES, "postgres"]:
                assert refused_for(move.side(side), move.name, role), (side, role)
                assert not refused_for(move.side(other), move.name, role), (other, role)
                move.side(other).run("delete from t where id = -1", move.name)
            for name in ("t_id_seq", "by_ten"):
                value = move.side(other).value(f"select nextval('{name}')", move.name)
                assert value > given[name], (name, value, given)
                given[name] = value
            value = move.side(other).value("select nextval('down')", move.name)
            assert value < given["down"], (value, given)
            given["down"] = value
        move.assert_equal(["t"])
    for server in (world.old, world.new):
        for role in ROLES:
            server.run(f"drop role {role}")
