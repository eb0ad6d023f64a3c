"""Around the switch: whoever writes past the gateway is named before it; what is written on the closed side after it
is reported with its row; the switch is proven by snapshots held at the barrier, outside the pause; rights to draw
from sequences go with the fence and come back; a thousand tables are fenced at once."""
import subprocess
import sys
import time

import psycopg2

from steps import Pair, eventually, past_the_fence
from stories.world import Background

SETUP = """
create table t(id bigserial primary key, v int, note text); insert into t(v) select g from generate_series(1, 2000) g;
create table quiet(id int primary key, v int); insert into quiet select g, g from generate_series(1, 50000) g;
create role app login; create role cron login; grant all on all tables in schema public to app, cron;
grant usage on all sequences in schema public to app; grant all on sequence t_id_seq to public;
"""
MANY = 1000


def test_census(pair):
    """A job that nobody remembers writes now and then, with psql; the application writes all the time."""
    session = pair.old.connect("shop", user="app")
    with session.cursor() as cursor:
        cursor.execute("set application_name = 'web'")

    def write():
        with session.cursor() as cursor:
            cursor.execute("begin; update t set v = v + 1 where id = 7; commit")
    application = Background(write)

    def named():
        subprocess.run([f"{pair.old.binaries}/psql", "-X", "-q", pair.old.url("shop", "cron"), "-c",
                        "begin; update t set note = 'cron' where id = 5; select pg_sleep(0.15); commit"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        return {(w["application"], w["role"]): w for w in pair.call("status")["writers"]}
    writers = eventually(lambda: (w := named()) if ("psql", "cron") in (w := named()) else None, "the cron job")
    found = writers["psql", "cron"]
    assert found["address"] == "127.0.0.1" and found["seen"] >= 1 and found["table"].endswith("t"), found
    eventually(lambda: ("web", "app") in named(), "the application")
    assert not [w for w in writers if w[0].startswith("banyan")], writers
    application.stop()
    session.close()


def may_draw(server, role):
    session = server.connect("shop", user=role)
    try:
        with session.cursor() as cursor:
            cursor.execute("select nextval('t_id_seq')")
        return True
    except psycopg2.errors.InsufficientPrivilege:
        return False
    finally:
        session.close()


def rights(server):
    return sorted(server.run("select a.grantee::regrole::text, privilege_type from pg_class c, "
                             "aclexplode(coalesce(relacl, acldefault('s', relowner))) a where relname = 't_id_seq'",
                             "shop"))


def test_sequences_close_with_the_fence(pair):
    before = rights(pair.old)
    epoch = pair.next_epoch()
    pair.call("act.prepare")
    for _ in range(2):
        pair.fence(epoch)
        assert not may_draw(pair.old, "app") and not may_draw(pair.old, "cron")
    pair.call("act.abort", epoch=epoch)
    assert rights(pair.old) == before, (before, rights(pair.old))
    assert may_draw(pair.old, "app") and may_draw(pair.old, "cron")


def test_proof(pair):
    """What only the switch itself can have changed is found, although rows are written at once after it."""
    pair.switch()
    pair.new.run("update quiet set v = v + 1", "shop")
    proof = eventually(lambda: (p := pair.call("status")["proof"])["state"] not in ("held", "running") and p, "proof")
    assert proof["state"] == "equal" and proof["rows"] >= 52000, proof
    assert not may_draw(pair.old, "app") and may_draw(pair.new, "app")
    pair.switch()
    assert may_draw(pair.old, "app")
    past_the_fence(pair.new, "update quiet set v = -1 where id = 77")
    pair.switch()
    proof = eventually(lambda: (p := pair.call("status")["proof"])["state"] not in ("held", "running") and p, "proof")
    assert proof["state"] == "different", proof
    differences = [(t["table"], d["key"]) for t in proof["tables"] for d in t["differences"]]
    assert differences == [("public.quiet", "(77)")], proof


def test_tripwire(pair):
    """The owner switches the fence off on the closed side and writes: reported with the row, never carried."""
    pair.old.run("begin; alter table t disable trigger banyan_fence; "
                 "insert into t(id, v, note) values (777777, 5, 'sabotage'); commit", "shop")
    begun = time.monotonic()
    alarms = eventually(lambda: [a for a in pair.call("status")["tripwire"] if a["side"] == "old"
                                 and "777777" in a["row"]], "the alarm", pause_s=0.005)
    took = time.monotonic() - begun
    assert alarms[0]["table"] == "public.t" and "note=sabotage" in alarms[0]["row"], alarms
    assert pair.new.value("select 1 from t where id = 777777", "shop") is None
    print(f"ok   a write on the closed side is reported after {took * 1000:.0f} ms: {alarms[0]['row']}")


def test_many_tables(binary):
    with Pair(binary) as pair:
        pair.old.psql("".join(f"create table t{n}(id serial primary key);" for n in range(MANY)), "shop")
        pair.start()
        pair.wait_following()
        pair.call("act.prepare")
        times = []
        for _ in range(5):
            epoch = pair.next_epoch()
            begun = time.monotonic()
            pair.fence(epoch)
            times.append((time.monotonic() - begun) * 1000)
            pair.call("act.abort", epoch=epoch)
        print(f"ok   {MANY} tables with {MANY} sequences fenced in {min(times):.0f} ms (worst {max(times):.0f} ms)")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        for test in (test_census, test_sequences_close_with_the_fence, test_proof, test_tripwire):
            test(pair)
            print("ok  ", test.__name__)
    test_many_tables(sys.argv[1])


if __name__ == "__main__":
    main()
