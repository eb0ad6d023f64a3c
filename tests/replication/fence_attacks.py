"""Everything that could write to a fenced side, tried: sessions and transactions opened before, cached
plans, superusers, replica role, functions, partitions, inheritance, cascades, TRUNCATE, MERGE, COPY. And
the rules of abort, of epochs, and of writers that do not end."""
import sys
import threading

import psycopg2

from steps import Pair, RpcError, eventually
from stories.world import refused

SETUP = """
create role app login; grant all on schema public to app;
create table t(id int primary key, v int); insert into t select g, 0 from generate_series(1, 1000) g;
create table child(id int primary key, tid int references t on delete cascade);
insert into child select g, g from generate_series(1, 100) g;
create table p(id int primary key, v int) partition by range (id);
create table p1 partition of p for values from (0) to (100);
create table p2 partition of p for values from (100) to (1000);
insert into p select g, 0 from generate_series(1, 500) g;
create table parent(id int primary key, v int); create table inh() inherits (parent);
insert into inh select g, 0 from generate_series(1, 10) g;
create view w as select * from t;
create function wr(int) returns void language sql security definer as 'update public.t set v = v + 1 where id = $1';
create table "odd ""name"" %s"(id int primary key);
grant all on all tables in schema public to app; alter table t owner to app; alter table child owner to app;
"""

ATTACKS = {
    "insert": "insert into t values (5000, 1)",
    "update": "update t set v = 9 where id = 2",
    "update of no row": "update t set v = 9 where false",
    "delete": "delete from t where id = -1",
    "truncate": "truncate child",
    "truncate cascade": "truncate t cascade",
    "begin read write": "begin read write; insert into t values (5001, 1); commit",
    "function of another owner": "select wr(1)",
    "view": "update w set v = 1",
    "partition root": "insert into p values (700, 1)",
    "leaf partition": "insert into p2 values (701, 1)",
    "inheritance parent": "update parent set v = 1",
    "inheritance child": "update inh set v = 1",
    "merge": "merge into t using (values (1)) s(id) on t.id = s.id when matched then update set v = 1",
    "on conflict": "insert into t values (1, 1) on conflict (id) do update set v = 2",
    "on conflict do nothing": "insert into t values (1, 1) on conflict do nothing",
    "writable cte": "with x as (delete from t where id = 3 returning *) select * from x",
    "do block": "do $$ begin update t set v = 1; end $$",
    "odd name": 'insert into "odd ""name"" %s" values (1)',
    "guessed pass": "set banyan.apply = 'guess'; update t set v = 1",
    "empty pass": "set banyan.apply = ''; update t set v = 1",
    "savepoint": "begin; savepoint a; update t set v = 1; commit",
    "foreign key cascade": "delete from t where id = 50",
}


def attack(session, name, sql):
    try:
        with session.cursor() as cursor:
            cursor.execute(sql)
        raise AssertionError(f"{name} got through the fence")
    except psycopg2.errors.ReadOnlySqlTransaction:
        with session.cursor() as cursor:
            cursor.execute("rollback; reset all")
    except psycopg2.Error as error:
        raise AssertionError(f"{name}: {error}") from None


def sessions_from_before(pair):
    """Sessions in every state in which they may meet the fence."""
    def opened(user, *statements):
        session = pair.old.connect("shop", user=user)
        with session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        return session
    return {
        "repeatable read opened before": opened("app", "begin isolation level repeatable read", "select 1 from t"),
        "serializable opened before": opened("app", "begin isolation level serializable", "select 1 from t"),
        "read committed opened before": opened("app", "begin", "select 1 from t"),
        "cached plan": opened("app", "prepare x(int) as update t set v = v + 1 where id = $1",
                              *["execute x(3)"] * 8),
        "replica role": opened("postgres", "set session_replication_role = replica"),
        "superuser": opened("postgres", "select 1"),
    }


def test_attacks(pair):
    before = sessions_from_before(pair)
    epoch = pair.next_epoch()
    pair.fence(epoch)
    attack(before.pop("cached plan"), "cached plan", "execute x(3)")
    for name, session in before.items():
        attack(session, name, "update t set v = 9 where id = 7")
    for user in ("app", "postgres"):
        session = pair.old.connect("shop", user=user)
        for name, sql in ATTACKS.items():
            if user == "postgres" or not any(word in sql for word in ("p2", "parent", "inh", "into p ", "odd")):
                attack(session, f"{name} as {user}", sql)
    session = pair.old.connect("shop")
    with session.cursor() as cursor:
        cursor.execute("select count(*) from t")  # readers pass
        try:
            cursor.copy_expert("copy t from stdin", __import__("io").StringIO("9999\t1\n"))
            raise AssertionError("copy got through the fence")
        except psycopg2.errors.ReadOnlySqlTransaction:
            pass
    pair.call("act.await", epoch=epoch, timeout_ms=60000)
    for attempt in range(2):  # twice is as good as once
        pair.call("act.abort", epoch=epoch)
    pair.old.run("update t set v = 77 where id = 7", "shop")


def fences(server):
    """How the fences of the moved tables are enabled, as pg_trigger says."""
    return {row[0] for row in server.run("select distinct tgenabled::text from pg_trigger where tgname = 'banyan_fence'", "shop")}


def fence_is_refused(pair, epoch):
    """A writer is in the way; what the remedy says of it."""
    return refused(lambda: pair.call("act.fence", epoch=epoch, lock_timeout_ms=50), code="timeout").remedy


def test_armed(pair):
    """Before the pause every table's fence asks the gate. While it is open everybody writes, and is waited for all the same;
    nobody but the owner touches the gate; once no act comes the fences ask no more, also after a death in between."""
    pair.call("act.prepare")
    assert fences(pair.old) == {"A"}, fences(pair.old)
    writer = pair.old.connect("shop", user="app", autocommit=False)
    with writer.cursor() as cursor:
        cursor.execute("set transaction isolation level serializable")
        cursor.execute("insert into t values (6100, 1)")
        cursor.execute("update child set tid = tid where id = 1")
    pair.old.run("set session_replication_role = replica; insert into t values (6101, 1)", "shop")
    epoch = pair.next_epoch()
    assert str(writer.info.backend_pid) in fence_is_refused(pair, epoch)
    writer.commit()
    intruder = pair.old.connect("shop", user="app", autocommit=False)
    for sql in ('alter table banyan."gate of shop" disable trigger banyan_gate', 'delete from banyan."gate of shop"',
                'lock table banyan."gate of shop"', 'drop table banyan."gate of shop"'):
        try:
            intruder.cursor().execute(sql)
            raise AssertionError(f"{sql} was allowed")
        except psycopg2.errors.InsufficientPrivilege:
            intruder.rollback()
    pair.fence(epoch)
    try:
        pair.old.run("set banyan.writes_to = 'nothing'; insert into t values (6102, 1)", "shop")
        raise AssertionError("written behind the fence")
    except psycopg2.errors.ReadOnlySqlTransaction as error:
        assert "table public.t is closed for writing" in str(error), error
    pair.role.kill9()
    pair.role.start()
    pair.call("act.abort", epoch=epoch)
    pair.old.run("insert into t values (6102, 1)", "shop")
    eventually(lambda: fences(pair.old) == {"D"}, "the fences to be disarmed")
    assert fences(pair.new) == {"A"}, fences(pair.new)


def test_arming_names_who_stays(pair):
    """A writer that does not end is named before anything is held, and nothing is closed."""
    writer = pair.old.connect("shop", autocommit=False)
    with writer.cursor() as cursor:
        cursor.execute("insert into t values (6200, 1)")
    assert str(writer.info.backend_pid) in refused(lambda: pair.call("act.prepare"), code="timeout").remedy
    pair.old.run("insert into t values (6201, 1)", "shop")
    writer.commit()
    pair.call("act.prepare")
    assert fences(pair.old) == {"A"}, fences(pair.old)


def test_passive_side_is_closed(pair):
    session = pair.new.connect("shop")
    attack(session, "the passive side", "update t set v = 1 where id = 1")
    attack(session, "the passive side as a replica", "set session_replication_role = replica; update t set v = 1 where id = 1")


def test_writer_in_flight(pair):
    """The fence waits for an open writer: its rows are before the barrier. One that stays is named."""
    writer = pair.old.connect("shop", autocommit=False)
    with writer.cursor() as cursor:
        cursor.execute("insert into t values (6000, 1)")
    epoch = pair.next_epoch()
    assert "pid" in fence_is_refused(pair, epoch)
    assert pair.call("act.state")["act"] == "running"
    threading.Timer(0.5, writer.commit).start()
    pair.fence(epoch, tries=50)
    pair.call("act.await", epoch=epoch, timeout_ms=60000)
    assert pair.new.value("select v from t where id = 6000", "shop") == 1
    pair.call("act.abort", epoch=epoch)


def test_prepared_transaction_blocks(pair):
    pair.old.psql("begin; insert into t values (6001, 1); prepare transaction 'stay'", "shop")
    epoch = pair.next_epoch()
    assert "prepared" in fence_is_refused(pair, epoch)
    pair.old.run("commit prepared 'stay'", "shop")


def test_spent_epochs(pair):
    epoch = pair.next_epoch()
    pair.call("act.abort", epoch=epoch)  # spends the epoch of a fence still under way
    for verb in ("act.fence", "act.handover", "act.open", "act.await"):
        try:
            pair.call(verb, epoch=epoch)
            raise AssertionError(f"{verb} with a spent epoch")
        except RpcError as error:
            assert error.code == "conflict", error


def test_handover_needs_the_barrier(pair):
    """With the role's stream held off the barrier cannot arrive: no handover, abort works."""
    epoch = pair.next_epoch()
    session = pair.new.connect("shop", autocommit=False)
    with session.cursor() as cursor:  # nothing can be applied while this lock stands
        cursor.execute("lock table banyan.progress in access exclusive mode")
        pair.fence(epoch)
        try:
            pair.call("act.handover", epoch=epoch)
            raise AssertionError("handed over without the barrier")
        except RpcError as error:
            assert error.code == "timeout", error
        pair.call("act.abort", epoch=epoch)
    session.rollback()
    pair.old.run("update t set v = 78 where id = 8", "shop")


def test_abort_without_the_passive_side(pair):
    epoch = pair.next_epoch()
    pair.fence(epoch)
    pair.new.kill9()
    pair.call("act.abort", epoch=epoch)
    pair.old.run("update t set v = 79 where id = 9", "shop")
    pair.new.start()
    pair.wait_following()


def test_new_partition_is_fenced(pair):
    pair.old.run("create table p3 partition of p for values from (1000) to (2000)", "shop")
    pair.new.run("create table p3 partition of p for values from (1000) to (2000)", "shop")
    pair.fence(pair.next_epoch())
    attack(pair.old.connect("shop"), "a partition created later", "insert into p3 values (1500, 1)")
    pair.call("act.abort", epoch=pair.epoch)
    eventually(lambda: pair.new.value("select 1 from banyan.applied_chunks where table_name = 'public.p3' and chunk = -1", "shop"),
               "the partition to join")


def test_tripwire(pair):
    """A side that handed over and is sabotaged by its owner raises an alarm, and nothing is applied."""
    pair.switch()
    pair.old.run("begin; alter table t disable trigger banyan_fence; insert into t values (7000, 1); commit;",
                 "shop")
    eventually(lambda: pair.call("status").get("tripwire"), "the alarm")
    assert pair.new.value("select 1 from t where id = 7000", "shop") is None


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.new.run("create role app login", "shop")
        pair.start()
        pair.wait_following()
        pair.call("act.prepare")
        for test in (test_attacks, test_armed, test_arming_names_who_stays, test_passive_side_is_closed,
                     test_writer_in_flight, test_prepared_transaction_blocks, test_spent_epochs,
                     test_handover_needs_the_barrier, test_abort_without_the_passive_side, test_new_partition_is_fenced):
            test(pair)
            print("ok  ", test.__name__)
        pair.assert_equal(["t", "child", "p", "parent"])
        assert pair.verify()["state"] == "equal"
        test_tripwire(pair)
        print("ok   test_tripwire")


if __name__ == "__main__":
    main()
