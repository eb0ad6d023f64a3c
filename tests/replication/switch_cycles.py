"""20 switches, there and back, under writers that go directly to the databases and try the closed side on
every turn: no acknowledged write is lost or doubled, and nothing is ever written on a closed side."""
import statistics
import sys
import threading
import time

import psycopg2

from steps import Pair, RpcError

CYCLES = 20
WRITERS = 4


class Writer(threading.Thread):
    """Inserts (writer, n) and counts in one transaction, on whichever side takes it."""

    def __init__(self, pair, number):
        super().__init__(daemon=True)
        self.pair, self.number = pair, number
        self.acknowledged, self.refused, self.trouble = [], 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            sessions = [self.pair.old.connect("shop", autocommit=False),
                        self.pair.new.connect("shop", autocommit=False)]
            n = 0
            while not self.stopping.is_set():
                n += 1
                while not self.stopping.is_set() and not any(self.write(s, n) for s in sessions):
                    time.sleep(0.002)
        except Exception as error:
            self.trouble = error

    def write(self, session, n):
        try:
            with session.cursor() as cursor:
                cursor.execute("insert into ledger(writer, n) values (%s, %s) returning id", (self.number, n))
                row = cursor.fetchone()[0]
                cursor.execute("update counter set n = n + 1 where writer = %s", (self.number,))
            session.commit()
            self.acknowledged.append((self.number, n, row))
            time.sleep(0.002)
            return True
        except psycopg2.errors.ReadOnlySqlTransaction:
            session.rollback()
            self.refused += 1
            return False


def check_books(pair, writers):
    expected = sorted(entry for writer in writers for entry in writer.acknowledged)
    for server in (pair.old, pair.new):
        found = sorted(server.run("select writer, n, id from ledger", "shop"))
        lost, extra = set(expected) - set(found), set(found) - set(expected)
        assert found == expected, f"lost {list(lost)[:5]} extra {list(extra)[:5]}"
        counts = dict(server.run("select writer, n from counter", "shop"))
        assert counts == {writer.number: len(writer.acknowledged) for writer in writers}, counts


def check_refusals(pair, epoch):
    """Messages that come late or twice change nothing."""
    for verb in ("act.handover", "act.open"):
        pair.call(verb, epoch=epoch)
    for verb in ("act.abort", "act.fence"):
        try:
            pair.call(verb, epoch=epoch)
            raise AssertionError(f"{verb} with a spent epoch was accepted")
        except RpcError as error:
            assert error.code == "conflict", error


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql("create table ledger(id bigserial primary key, writer int, n int, unique (writer, n));"
                      "create table counter(writer int primary key, n int);"
                      f"insert into counter select g, 0 from generate_series(0, {WRITERS - 1}) g", "shop")
        pair.start()
        pair.wait_following()
        writers = [Writer(pair, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        pauses = []
        for cycle in range(CYCLES):
            time.sleep(0.2)
            pauses.append(pair.switch())
            assert pair.active() == ("new" if cycle % 2 == 0 else "old")
            check_refusals(pair, pair.epoch)
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
            assert writer.trouble is None, writer.trouble
        pair.assert_equal(["ledger", "counter"])
        check_books(pair, writers)
        verdict = pair.verify()
        assert verdict["state"] == "equal", verdict
        assert not pair.call("status").get("tripwire"), pair.call("status")
        written = sum(len(writer.acknowledged) for writer in writers)
        print(f"{CYCLES} switches, {written} writes, {sum(w.refused for w in writers)} refused; pause ms: "
              f"median {statistics.median(pauses):.0f}, worst {max(pauses):.0f}; median of each step:",
              {step: round(statistics.median(took), 1) for step, took in pair.timings.items()})


if __name__ == "__main__":
    main()
