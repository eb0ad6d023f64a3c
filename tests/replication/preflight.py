"""Every preflight check passes on a healthy pair, and fails, with its repair, on what it is there for. The tables
below say how each is broken; a check that none of them breaks fails this test."""
import contextlib
import pathlib
import shutil
import sys

from steps import Pair, Postgres

TABLES = """
create table t(id int primary key, v int); create table f(id int primary key, t int references t);
create sequence s; create table small(id smallserial primary key);
"""
FUNCTION = "create function tr() returns {0} language plpgsql as 'begin {1} end'; "

# check: side, what breaks it, what repairs it (None: the check's own fix_sql must do)
BREAKS = {
    "source.prepared": ("old", "begin; insert into t values (1, 1); prepare transaction 'left'", None),
    "target.prepared": ("new", "begin; create table x(i int); prepare transaction 'left'", None),
    "source.deferrable_key": ("old", "create table d(id int primary key deferrable)", None),
    "source.replica_identity": ("old", "create table n(a int)", None),
    "source.unlogged": ("old", "create unlogged table u(id int primary key)", None),
    "source.large_objects": ("old", "select lo_create(77)", "select lo_unlink(77)"),
    "source.rules": ("old", "create rule r as on delete to t do instead nothing", "drop rule r on t"),
    "source.event_triggers": ("old", FUNCTION.format("event_trigger", "") + "create event trigger ev on "
                              "ddl_command_end execute function tr()", "drop event trigger ev; drop function tr"),
    "source.unvalidated": ("old", "alter table t add constraint c check (v > 0) not valid", None),
    "source.sequences_end": ("old", "create sequence i as int; select setval('i', 2147483000)", None),
    "source.small_keys": ("old", "select setval('small_id_seq', 28000)", "alter table small alter column id type "
                          "bigint; alter sequence small_id_seq as bigint"),
    "source.always_triggers": ("old", FUNCTION.format("trigger", "return new;") + "create trigger tr before insert on "
                               "t for each row execute function tr(); alter table t enable always trigger tr", None),
    "source.foreign_tables": ("old", "create foreign data wrapper w; create server sv foreign data wrapper w; "
                              "create foreign table ft(i int) server sv", "drop foreign data wrapper w cascade"),
    "source.invalid_indexes": ("old", "create index bad on t(v); update pg_index set indisvalid = false where "
                               "indexrelid = 'bad'::regclass", None),
    "source.wraparound": ("old", "update pg_database set datfrozenxid = ((txid_current() + 4294967296 - 1600000000) "
                          "% 4294967296)::text::xid where datname = 'shop'",
                          "update pg_database set datfrozenxid = (select datfrozenxid from pg_database where datname = "
                          "'postgres') where datname = 'shop'"),
    "source.freeze_due": ("old", "update pg_class set relfrozenxid = ((txid_current() + 4294967296 - 190000000) "
                          "% 4294967296)::text::xid where oid = 'f'::regclass", None),
    "target.empty": ("new", "create table t(id int)", None),
    "target.disk_settings": ("new", "alter system set max_wal_size = '1GB'; select pg_reload_conf()", None),
    "target.autovacuum": ("new", "alter system set autovacuum = off; select pg_reload_conf()", None),
    "target.subscriptions": ("new", "create subscription other connection 'host=nowhere' publication p with "
                             "(connect = false)", "alter subscription other set (slot_name = none); "
                             "drop subscription other"),
    "target.extensions": ("old", "update pg_extension set extname = 'plfancy' where extname = 'plpgsql'",
                          "update pg_extension set extname = 'plpgsql' where extname = 'plfancy'"),
    "source.synchronous": ("old", "set synchronous_commit = local; alter system set synchronous_standby_names = 'none'; "
                           "select pg_reload_conf()", None),
    "source.read_only": ("old", "alter database shop set default_transaction_read_only = on",
                         "set default_transaction_read_only = off; alter database shop reset default_transaction_read_only"),
    "target.read_only": ("new", "alter database shop set default_transaction_read_only = on",
                         "set default_transaction_read_only = off; alter database shop reset default_transaction_read_only"),
}
RIGHTS = ["source.replication", "target.replication", "source.replica_role", "target.replica_role",
          "source.create_schema", "target.create_schema", "source.owner", "source.sees_sessions",
          "source.row_security"]
POOR = {"wal_level": "replica", "max_replication_slots": "2", "max_wal_senders": "2", "max_connections": "14",
        "max_slot_wal_keep_size": "16MB", "wal_sender_timeout": "2s", "max_locks_per_transaction": "10",
        "logical_decoding_work_mem": "1MB", "old_snapshot_threshold": "10min", "autovacuum": "off",
        "min_wal_size": "32MB"}
POOR_SOURCE = ["wal_level", "slots", "senders", "connections", "wal_keep", "sender_timeout", "decoding_memory",
               "old_snapshot", "lost_slots", "locks"]
POOR_TARGET = ["wal_level", "slots", "senders", "connections", "wal_keep", "sender_timeout", "lost_slots", "locks"]
# Broken where other servers are at hand, or never a problem.
ELSEWHERE = {"target.version": "versions.py", "source.generated_identity": "versions.py", "source.estimate": "tells",
             "local.pg_dump": "versions.py"}

failed, passed = set(), set()


def check(pair, config, wanted=None):
    checks = {found["id"]: found for found in pair.call("preflight", config=config)["checks"]}
    return checks if wanted is None else checks[wanted]


def note(found, ok):
    assert found["ok"] == ok, found
    assert ok or (found["detail"] and "could not be asked" not in found["detail"]), found
    assert found["title"] and "{" not in found["title"] + found["detail"] + found["fix_sql"], found
    (passed if ok else failed).add(found["id"])
    return found


def configuration(pair, old_user=None, new_user=None, **more):
    return {"source": pair.old.url("shop", old_user), "target": pair.new.url("shop", new_user),
            "tables": "all", "spool": {"limit_bytes": 64_000_000}, **more}


def test_healthy(pair):
    pair.new.run("alter system set max_wal_size = '8GB'")
    pair.new.run("select pg_reload_conf()")
    checks = check(pair, configuration(pair))
    for found in checks.values():
        note(found, True)
    own = [name for name in checks if not name.startswith("carry.")]
    assert len(own) >= 50, len(own)
    assert "MB in 3 tables" in checks["source.estimate"]["detail"], checks["source.estimate"]
    print("ok  ", len(checks), "checks pass")
    return own


def test_breaks(pair):
    for name, (side, broken, repair) in BREAKS.items():
        server = pair.side(side)
        server.psql(broken, "shop")
        found = note(check(pair, configuration(pair), name), False)
        server.psql(repair or found["fix_sql"], "shop")
        note(check(pair, configuration(pair), name), True)
        print("ok  ", name, "|", found["detail"])


def test_replica_role_only_where_something_acts(pair):
    pair.old.run("create role weak login", "shop")
    pair.new.run("create role weak login", "shop")
    checks = check(pair, configuration(pair, "weak", "weak"))
    for side in ("source", "target"):
        note(checks[f"{side}.replica_role"], True)
    print("ok   replica_role is not asked for where nothing acts")


def test_rights(pair):
    pair.old.run("create role boss; "
                 "create table forced(id int primary key references t on delete cascade); alter table forced force row level security, "
                 "enable row level security", "shop")
    checks = check(pair, configuration(pair, "weak", "weak"))
    for name in RIGHTS:
        found = note(checks[name], False)
        assert found["fix_sql"], found
        (pair.old if name.startswith("source") else pair.new).psql(found["fix_sql"], "shop")
    checks = check(pair, configuration(pair, "weak", "weak"))
    for name in RIGHTS:
        note(checks[name], True)
    pair.old.run("drop table forced; alter role weak nosuperuser", "shop")
    print("ok   rights")


def test_open_transaction(pair):
    session = pair.old.connect("shop", autocommit=False)
    with session.cursor() as cursor:
        cursor.execute("select txid_current()")
        pair.old.run("alter database shop set banyan.long_transaction = '1 ms'", "shop")
        found = note(check(pair, configuration(pair), "source.long_transactions"), False)
        pair.old.run(found["fix_sql"], "shop")
    with contextlib.suppress(Exception):
        session.close()
    pair.old.run("alter database shop reset banyan.long_transaction", "shop")
    note(check(pair, configuration(pair), "source.long_transactions"), True)
    print("ok   a transaction open for long")


def test_room_for_the_spool(pair):
    found = note(check(pair, configuration(pair, spool={"limit_bytes": 10 ** 18}), "local.spool_room"), False)
    free_mb = shutil.disk_usage(pair.role.directory).free // 1_000_000
    told_mb = int(found["detail"].split()[0])
    assert found["severity"] == "should" and free_mb / 2 < told_mb < free_mb * 2, (found, free_mb)
    assert pair.role.directory in found["detail"] and f"allows {10 ** 12}" in found["detail"], found
    print("ok   local.spool_room |", found["detail"])


def test_table_split(pair):
    found = note(check(pair, configuration(pair, tables=["t"]), "source.crossing_keys"), False)
    assert "from f" in found["detail"] or "public.f" in found["detail"], found
    note(check(pair, configuration(pair, tables=["t", "f"]), "source.crossing_keys"), True)
    note(check(pair, configuration(pair, tables=["t"], decisions={"foreign_key *": "application_check"}), "source.crossing_keys"), True)
    print("ok   foreign keys across the border")


def lose_a_slot(server):
    server.run("select pg_create_physical_replication_slot('banyan_lost', true)")
    for _ in range(6):
        server.run("create table if not exists filler(i int); insert into filler values (1); select pg_switch_wal()")
    server.run("checkpoint")


def test_server_settings(pair):
    with Postgres(settings=POOR) as poor:
        poor.run("create database shop template template0 encoding 'LATIN1' locale 'C'")
        lose_a_slot(poor)
        config = {"source": poor.url("shop"), "target": pair.new.url("shop")}
        note(check(pair, config, "source.tables"), False)
        poor.psql("".join(f"create table t{n}(i int primary key);" for n in range(201)), "shop")
        checks = check(pair, config)
        for name in POOR_SOURCE:
            note(checks[f"source.{name}"], False)
        note(checks["target.encoding"], False)
        checks = check(pair, {"source": config["source"], "target": poor.url("shop")})
        for name in POOR_TARGET:
            note(checks[f"target.{name}"], False)
        note(checks["target.is_other"], False)
        # A standby answers questions and takes no writes.
        poor.stop()
        pathlib.Path(poor.data, "standby.signal").touch()
        poor.start()
        assert not check(pair, {"source": pair.old.url("shop"), "target": poor.url("shop")},
                         "target.read_only")["ok"]
    print("ok   server settings")


def main():
    pair = Pair(sys.argv[1])
    pair.old.settings["autovacuum"] = "off"  # it would set right what test_breaks writes into the catalogue
    with pair:
        pair.old.psql(TABLES, "shop")
        names = test_healthy(pair)
        for test in (test_replica_role_only_where_something_acts, test_breaks, test_rights, test_open_transaction, test_room_for_the_spool, test_table_split, test_server_settings):
            test(pair)
    for name in names:
        if name in ELSEWHERE:
            continue
        assert name in failed, f"no test makes {name} fail"
        assert name in passed, f"no test makes {name} pass"
    print(f"{len(names)} checks, each seen failing and passing but for {sorted(ELSEWHERE)}")


if __name__ == "__main__":
    main()
