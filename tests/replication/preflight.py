"""Every preflight check passes on a healthy pair, and fails, with its repair, on what it is there for."""
import sys

from steps import Pair, Postgres

TABLES = """
create table t(id int primary key, v int); create table f(id int primary key, t int references t);
create sequence s;
"""

# check, side, what breaks it, what repairs it (None: the check's own fix_sql must do)
BREAKS = [
    ("source.prepared", "old", "begin; insert into t values (1, 1); prepare transaction 'left'", None),
    ("target.prepared", "new", "begin; create table x(i int); prepare transaction 'left'", None),
    ("source.deferrable_key", "old", "create table d(id int primary key deferrable)", None),
    ("source.replica_identity", "old", "create table n(a int)", None),
    ("source.unlogged", "old", "create unlogged table u(id int primary key)", None),
    ("source.large_objects", "old", "select lo_create(77)", "select lo_unlink(77)"),
    ("source.rules", "old", "create rule r as on delete to t do instead nothing", "drop rule r on t"),
    ("source.event_triggers", "old",
     "create function ev() returns event_trigger language plpgsql as 'begin end'; "
     "create event trigger ev on ddl_command_end execute function ev()", "drop event trigger ev"),
    ("source.unvalidated", "old", "alter table t add constraint c check (v > 0) not valid", None),
    ("source.sequences_end", "old", "select setval('s', 9223372036854775800)", "select setval('s', 1)"),
    ("source.always_triggers", "old",
     "create function tr() returns trigger language plpgsql as 'begin return new; end'; "
     "create trigger tr before insert on t for each row execute function tr(); "
     "alter table t enable always trigger tr", None),
    ("source.foreign_tables", "old",
     "create foreign data wrapper w; create server sv foreign data wrapper w; "
     "create foreign table ft(i int) server sv", "drop foreign data wrapper w cascade"),
    ("target.empty", "new", "create table t(id int)", None),
]


def check(pair, config, wanted):
    checks = {found["id"]: found for found in pair.call("preflight", config=config)["checks"]}
    return checks if wanted is None else checks[wanted]


def configuration(pair, old_user=None, new_user=None, **more):
    return {"source": pair.old.url("shop", old_user), "target": pair.new.url("shop", new_user),
            "tables": "all", **more}


def test_healthy(pair):
    checks = check(pair, configuration(pair), None)
    bad = [found for found in checks.values() if not found["ok"] and found["id"] != "target.disk_settings"]
    assert not bad, bad
    assert len(checks) >= 40, len(checks)
    print("ok  ", len(checks), "checks pass")


def test_breaks(pair):
    for name, side, broken, repair in BREAKS:
        server = pair.side(side)
        server.psql(broken, "shop")
        found = check(pair, configuration(pair), name)
        assert not found["ok"] and found["detail"], found
        assert "could not be asked" not in found["detail"], found
        server.psql(repair or found["fix_sql"], "shop")
        assert check(pair, configuration(pair), name)["ok"], (name, found)
        print("ok  ", name, "|", found["detail"])


def test_rights(pair):
    pair.old.run("create role weak login", "shop")
    pair.new.run("create role weak login", "shop")
    checks = check(pair, configuration(pair, "weak", "weak"), None)
    for name in ("source.replication", "target.replication", "source.replica_role", "target.replica_role",
                 "source.create_schema", "target.create_schema", "source.owner"):
        assert not checks[name]["ok"] and checks[name]["fix_sql"], checks[name]
        (pair.old if name.startswith("source") else pair.new).psql(checks[name]["fix_sql"], "shop")
    checks = check(pair, configuration(pair, "weak", "weak"), None)
    for name in ("source.replication", "target.replication", "source.replica_role", "source.create_schema"):
        assert checks[name]["ok"], checks[name]
    print("ok   rights")


def test_table_split(pair):
    found = check(pair, configuration(pair, tables=["t"]), "source.crossing_keys")
    assert not found["ok"] and "public.f" in found["detail"] or "from f" in found["detail"], found
    assert check(pair, configuration(pair, tables=["t", "f"]), "source.crossing_keys")["ok"]
    print("ok   foreign keys across the border")


def test_server_settings(pair):
    settings = {"wal_level": "replica", "max_replication_slots": "2", "max_wal_senders": "2",
                "max_slot_wal_keep_size": "100MB", "wal_sender_timeout": "2s"}
    with Postgres(settings=settings) as poor:
        poor.run("create database shop template template0 encoding 'LATIN1' locale 'C'")
        config = {"source": poor.url("shop"), "target": pair.new.url("shop")}
        checks = check(pair, config, None)
        for name in ("source.wal_level", "source.slots", "source.senders", "source.wal_keep", "source.tables",
                     "source.sender_timeout", "target.encoding"):
            assert not checks[name]["ok"], checks[name]
        checks = check(pair, {"source": config["target"], "target": config["source"]}, None)
        for name in ("target.wal_level", "target.slots", "target.senders"):
            assert not checks[name]["ok"], checks[name]
        same = check(pair, {"source": config["target"], "target": config["target"]}, "target.is_other")
        assert not same["ok"], same
    print("ok   server settings")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(TABLES, "shop")
        test_healthy(pair)
        test_breaks(pair)
        test_rights(pair)
        test_table_split(pair)
        test_server_settings(pair)


if __name__ == "__main__":
    main()
