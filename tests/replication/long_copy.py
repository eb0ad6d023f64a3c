"""A copy takes longer than the source may keep its log: what is written meanwhile is received before it is applied, over a
kill -9 too, so the slot is not lost and nothing is missing.

    long_copy.py BANYAN
"""
import sys

from steps import Pair, eventually

SETUP = """create table t(id int primary key, v text); insert into t select g, repeat('v', 500) from generate_series(1, 20000) g;
create table busy(id int primary key, v text)"""
STEPS = 9  # of 8 MB, more than the source keeps


def write(pair, step):
    pair.old.run(f"insert into busy select g, repeat('b', 700) from generate_series({step} * 10000 + 1, {step + 1} * 10000) g;"
                 f"update t set v = 'step {step}' where id % 100 = {step}", "shop")
    pair.old.run("checkpoint")


def kept(pair):
    """Bytes of log that the slot makes the source keep; the server drops the slot's log beyond 64 MB."""
    return pair.old.value("select coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 1e12) from pg_replication_slots")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.old.run("alter system set max_slot_wal_keep_size = '64MB'")
        pair.old.run("select pg_reload_conf()")
        pair.start(throttle={"bytes_per_s": 100_000}, chunk_bytes=500_000)
        eventually(lambda: pair.call("status")["state"] == "copying", "the copy")
        for step in range(STEPS):
            write(pair, step)
            if step == STEPS // 2:
                pair.role.kill9()
                pair.role.start()

            def stands():
                pair.old.run("checkpoint")
                status = pair.call("status")
                assert status["state"] in ("prepared", "copying"), status
                return kept(pair) < 48 << 20
            eventually(stands, "a source that is relieved", pause_s=0.2)
        spool = pair.spool()
        assert spool["confirm"] == "spooled" and spool["bytes"] > 30 << 20, spool
        print("received during the copy:", spool)
        pair.call("throttle", bytes_per_s=0)
        pair.wait_following()
        pair.assert_equal(["t", "busy"])
        assert pair.verify()["state"] == "equal"


if __name__ == "__main__":
    main()
