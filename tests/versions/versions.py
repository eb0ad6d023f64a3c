"""Databases move between majors, and back: 10 and 15, 12 and 18, 15 and 15, 15 and 18. Each pair copies, follows,
switches, follows backwards (so 18 to 15 as well) and reverses, with every row equal; preflight says what an older
target or a missing pg_dump needs.

    versions.py BANYAN [10:15 ...]        exit code 77: the servers cannot be downloaded here
"""
import contextlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "replication"), os.path.join(HERE, "..", "lib")]
import servers  # noqa: E402
from cluster import Banyan, Postgres, eventually  # noqa: E402
from steps import Migration  # noqa: E402

SKIPPED = 77
PAIRS = [("10", "15"), ("12", "18"), ("15", "15"), ("15", "18")]
SETUP = """
create type mood as enum ('sad', 'glad');
create table t(id bigserial primary key, v int, f float8, r float4, n numeric, b bytea, x text, j jsonb, d timestamptz,
               i interval, a int[], m mood, u uuid);
insert into t(v, f, r, n, b, x, j, d, i, a, m, u)
  select g, g / 3.0, g / 7.0, g * 1.10, decode(md5(g::text), 'hex'), 'caf\u00e9 ' || g, '{"a": 1}', '2026-11-04 01:02:03+00',
         '1 mon -2 days', array[g, null], 'glad', md5(g::text)::uuid from generate_series(1, 3000) g;
create table p(id int, v int) partition by range (id);
create table p1 partition of p for values from (0) to (100); create table p2 partition of p for values from (100) to (1000);
insert into p select g, g from generate_series(1, 500) g;
create table bag(a int, b text); insert into bag select g % 5, null from generate_series(1, 50) g;
create table child(id int primary key, t bigint references t on delete cascade); insert into child select g, g from generate_series(1, 100) g;
create index on t(v); create view glad as select id from t where m = 'glad';
"""
CHANGES = ["insert into t(v, f, x, a) select g, g / 9.0, repeat('long', 3000), '{}' from generate_series(1, 200) g",
           "update t set v = v + 1, f = f / 3 where id % 7 = 0", "update t set x = x || '!' where id = 5",
           "delete from t where id % 50 = 3", "delete from bag where ctid = (select min(ctid) from bag)",
           "insert into bag values (9, 'x')", "update p set v = -v where id between 90 and 110",
           "delete from p where id = 77", "insert into p values (77, 1)"]


@contextlib.contextmanager
def cluster(major):
    with Postgres(binaries=servers.binaries(major)) as server:
        assert server.value("show server_version").split(".")[0] == major
        yield server


def checks(role, move, **config):
    found = role.call("preflight", name=move.name, config=move.config(**config))["checks"]
    return {check["id"]: check for check in found}


def move_there_and_back(role, old, new, name):
    move = Migration(old, new, role, name)
    move.settings = "set extra_float_digits = 0; "  # verify compares the last bit
    for server in (old, new):
        server.create_database(name)
    old.run(SETUP, name)
    bad = [c for c in checks(role, move).values() if not c["ok"] and c["severity"] == "must"]
    assert not bad, bad
    move.start()
    move.wait_following()
    for turn in range(2):
        active = move.side(move.active())
        for change in CHANGES:
            active.run(change, name)
        move.assert_equal(["t", "p", "bag", "child"])
        verdict = move.verify()
        assert verdict["state"] == "equal", verdict
        move.switch()
    for change in CHANGES:
        old.run(change, name)
    move.assert_equal(["t", "p", "bag", "child"])
    assert new.value("select count(*) from glad", name) == old.value("select count(*) from glad", name)
    assert not move.call("status").get("tripwire"), move.call("status")
    move.call("cancel")


def test_older_target(role, old, new):
    """18 to 15 from the start: preflight says that the target is older and which pg_dump to install."""
    move = Migration(new, old, role, "down")
    for server in (old, new):
        server.create_database("down")
    new.run("create table g(id int primary key, v int, w int generated always as (v * 2) stored); "
            "alter table g replica identity full", "down")
    found = checks(role, move)
    assert not found["target.version"]["ok"], found["target.version"]
    assert not found["local.pg_dump"]["ok"] and "18" in found["local.pg_dump"]["detail"], found["local.pg_dump"]
    broken = found["source.generated_identity"]
    assert not broken["ok"], broken
    new.run(broken["fix_sql"], "down")
    assert checks(role, move)["source.generated_identity"]["ok"]
    print("ok   preflight names an older target, a pg_dump that is too old, a refused replica identity")


def test_mapped_roots(role, old, new):
    """Rows move through a partitioned root from 13 on: an older source is told before."""
    move = Migration(old, new, role, "roots")
    for server in (old, new):
        server.create_database("roots")
    old.run("create table r(id int primary key) partition by range (id); create table r1 partition of r default", "roots")
    assert "map.partitioned" not in checks(role, move)
    refused = checks(role, move, map=[{"table": "r"}])["map.partitioned"]
    assert not refused["ok"] and refused["severity"] == "must" and "13" in refused["detail"], refused
    print("ok   preflight refuses to move through a partitioned root of an old server")


def main():
    wanted = [tuple(pair.split(":")) for pair in sys.argv[2:]] or PAIRS
    try:
        for major in sorted({major for pair in wanted for major in pair}):
            servers.binaries(major)
    except servers.Missing as reason:
        print("skipped:", reason)
        return SKIPPED
    with Banyan(sys.argv[1], "replicate") as role:
        for here, there in wanted:
            with cluster(here) as old, cluster(there) as new:
                try:
                    move_there_and_back(role, old, new, f"v{here}to{there}")
                    if here == "12":
                        test_mapped_roots(role, old, new)
                    if (here, there) == ("15", "18"):
                        test_older_target(role, old, new)
                except BaseException:
                    print(role.log_tail(30), old.log_tail(10), new.log_tail(10), sep="\n")
                    raise
            print(f"ok   {here} to {there}, and {there} to {here} backwards", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
