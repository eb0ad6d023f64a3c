"""The log that the slot keeps is watched: an alarm long before the server drops it, and a plain refusal after.

    wal_guard.py BANYAN
"""
import sys

from steps import Pair, eventually

SETUP = "create table t(id int primary key, v int); insert into t values (1, 0)"


def write_log(pair):
    """In another database: the stream itself is idle."""
    pair.old.run("create table noise(t int); select pg_switch_wal(); drop table noise; select pg_switch_wal()")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        wal = eventually(lambda: pair.call("status")["wal"], "the guard's first look")
        assert wal["status"] == "reserved" and "alarm" not in wal, wal
        pair.old.run("alter system set max_slot_wal_keep_size = '96MB'")
        pair.old.run("select pg_reload_conf()")
        open_one = pair.old.connect("shop", autocommit=False)
        with open_one.cursor() as cursor:
            cursor.execute("update t set v = 1")  # a slot keeps the log from its oldest open transaction on

            def alarmed():
                write_log(pair)
                return pair.call("status")["wal"].get("alarm")
            print("alarm:", eventually(alarmed, "an alarm"))
            assert pair.call("status")["state"] == "following"

            def lost():
                write_log(pair)
                pair.old.run("checkpoint")
                return pair.call("status")["wal"]["status"] == "lost"
            eventually(lost, "the loss")
        open_one.rollback()
        status = eventually(lambda: (s := pair.call("status"))["state"] == "failed" and s, "the refusal")
        print("refused:", status["error"])
        assert "dropped log" in status["error"] and "repair" in status["wal"]["alarm"], status


if __name__ == "__main__":
    main()
