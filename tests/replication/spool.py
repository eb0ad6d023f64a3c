"""The source never waits for the target: what it sends goes to the spool, and while the source keeps too much of its log it
is told that the fsynced spool is enough. Then the spool is the only copy: it survives the death of the role, and what is
damaged in it is told, with the way out.

    spool.py BANYAN
"""
import pathlib
import subprocess
import sys

from steps import Pair, eventually

MEGA = 1 << 20
SETUP = """
create table item(id int primary key, v int, body text); create table done(id int primary key);
insert into item select g, 0, 'x' from generate_series(1, 1000) g;
"""
BODY = "repeat(md5(g::text), 30)"
TABLES = ["item", "done"]


class SpooledPair(Pair):
    """The spool vouches from 2 MB of kept log on, which the source keeps in files of 1 MB."""

    def __init__(self, binary):
        super().__init__(binary)
        self.old.settings["logical_decoding_work_mem"] = "64kB"
        self.old.initdb_options = ("--wal-segsize=1",)

    def start(self):
        super().start(spool={"kept_wal_bytes": 2 * MEGA, "limit_bytes": 1 << 30})

    def segments(self):
        return sorted(pathlib.Path(self.role.directory).rglob("spool/old/*.log"))

    def kept(self):
        """Bytes of log that the source keeps for the slot."""
        return int(self.old.value("select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) from "
                                  "pg_replication_slots where slot_name like 'banyan_shop_old%'"))

    def unconfirmed(self):
        """Bytes of log that the slot was not told to be safe."""
        return int(self.old.value("select pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) from "
                                  "pg_replication_slots where slot_name like 'banyan_shop_old%'"))


def write(pair, first, rows):
    """Small transactions and one that the source streams, 1 kB a row; aborted work between."""
    for at in range(first, first + rows, rows // 10):
        pair.old.run(f"insert into item select g, {at}, {BODY} from generate_series({at}, {at + rows // 10 - 1}) g;"
                     f"update item set v = v + 1 where id % 7 = 0", "shop")
        pair.old.run(f"begin; insert into item select -g, 0, {BODY} from generate_series(1, 500) g; rollback", "shop")


def spooled_and_released(pair):
    """The target is away: the log goes into the spool, and the source lets go of it."""
    eventually(lambda: pair.spool()["segments"], "the log to be received")
    pair.new.kill9()
    write(pair, 10_000, 5000)
    pair.old.run("set statement_timeout = '20s'; checkpoint")

    def released():
        pair.old.run("checkpoint")  # notes what runs, so that the slot may move on
        return pair.spool()["confirm"] == "spooled" and pair.kept() < 3 * MEGA
    eventually(released, "the source to let go")
    spool = pair.spool()
    assert spool["bytes"] > 5 * MEGA, spool
    print(f"ok   released: {spool['bytes'] // MEGA} MB in the spool, {pair.kept() // MEGA} MB kept on the source", flush=True)


def wait_until_durable(pair):
    """Nothing that the source was told to forget is in the spool alone."""
    eventually(lambda: pair.spool()["confirm"] == "applied", "everything to be durable in the target")


def killed_as_the_only_copy(pair):
    pair.role.kill9()
    pair.old.restart()  # its shutdown waits for nobody, and nothing of it is in its memory
    write(pair, 100_000, 1000)
    pair.new.start()
    pair.role.start()
    pair.wait_following()
    pair.assert_equal(TABLES)
    assert pair.verify()["state"] == "equal"
    wait_until_durable(pair)
    print("ok   killed as the only copy", flush=True)


def stopped_waits_for_nobody(pair):
    """The source is stopped while nothing can be applied: it is told that the spool is enough, and the role may die then."""
    lock = pair.new.connect("shop", autocommit=False)
    lock.cursor().execute("lock table item in access exclusive mode")
    write(pair, 150_000, 1000)
    pair.old.stop()
    pair.role.kill9()
    lock.close()
    pair.old.start()
    pair.role.start()
    pair.wait_following()
    pair.assert_equal(TABLES)
    pair.old.restart()
    write(pair, 160_000, 100)
    pair.old.restart()
    pair.assert_equal(TABLES)
    wait_until_durable(pair)
    print("ok   a source that is stopped waits for nobody", flush=True)


def torn_and_asked_again(pair):
    """While the source still has it a damaged spool is only a lost cache."""
    pair.role.kill9()
    for path in pair.segments():
        path.write_bytes(path.read_bytes()[:-7])
    write(pair, 200_000, 1000)
    pair.role.start()
    pair.wait_following()
    pair.assert_equal(TABLES)
    print("ok   torn and asked again", flush=True)


def damaged_as_the_only_copy(pair):
    pair.new.kill9()
    write(pair, 300_000, 3000)
    eventually(lambda: pair.spool()["confirm"] == "spooled" and pair.unconfirmed() < MEGA // 8, "the spool to be the only copy")
    pair.role.kill9()
    path = max((path for path in pair.segments() if path.stat().st_size > MEGA), key=lambda path: path.stat().st_mtime)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    pair.new.start()
    pair.role.start()
    status = eventually(lambda: (s := pair.call("status"))["state"] == "failed" and s, "the refusal")
    assert "nor the spool" in status["error"] and "migrate repair shop" in status["remedy"], status
    print("refused:", status["error"], flush=True)
    repaired(pair)
    print("ok   damaged as the only copy", flush=True)


def repaired(pair):
    eventually(lambda: pair.call("repair", wait_ms=2000)["state"] == "repaired", "the repair")
    pair.wait_following()
    pair.old.run("insert into done select coalesce(max(id), 0) + 1 from done", "shop")
    pair.assert_equal(TABLES)
    assert pair.verify()["state"] == "equal"


def full_disk(pair):
    """Receiving stands, and goes on when there is room."""
    pair.role.kill9()
    folder = pair.segments()[0].parent
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        pair.role.start()
        return print("skip a full disk: mounting a small one is not permitted here")
    try:
        pair.role.start()
        pair.wait_following()
        lock = pair.new.connect("shop", autocommit=False)
        lock.cursor().execute("lock table item in access exclusive mode")
        write(pair, 400_000, 5000)
        eventually(lambda: "receiving stands" in pathlib.Path(pair.role.log_path).read_text(), "the full disk to be told")
        pair.old.run("checkpoint")
        subprocess.run(["mount", "-o", "remount,size=300m", folder], check=True)
        eventually(lambda: pair.spool()["bytes"] > 5 * MEGA, "receiving to go on")
        lock.rollback()
        lock.close()
        pair.assert_equal(TABLES)
    finally:
        pair.role.kill9()
        subprocess.run(["umount", "-l", folder], check=True)
        pair.role.start()
    print("ok   a full disk", flush=True)


def promoted(pair):
    """A standby of the source takes its address: the slot's timeline has ended."""
    pair.wait_following()
    pair.assert_equal(TABLES)
    standby = str(pathlib.Path(pair.old.directory) / "standby")
    pair.old._run("pg_basebackup", "-D", standby, "-R", "-d", pair.old.url(), "--checkpoint=fast")
    pair.old.kill9()
    pair.old.data = standby
    pair.old.start()
    pair.old.run("select pg_promote()")
    write(pair, 500_000, 1000)
    status = eventually(lambda: (s := pair.call("status"))["state"] == "failed" and s, "the refusal")
    assert "timeline" in status["error"] and "\n1. " in status["remedy"] and "migrate repair shop" in status["remedy"], status
    print("refused:", status["error"], flush=True)
    repaired(pair)
    print("ok   promoted", flush=True)


def main():
    with SpooledPair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        for test in (spooled_and_released, killed_as_the_only_copy, stopped_waits_for_nobody, torn_and_asked_again, damaged_as_the_only_copy,
                     promoted, full_disk):
            test(pair)


if __name__ == "__main__":
    main()
