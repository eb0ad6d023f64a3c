"""GET /metrics of the role tells what docs/metrics.md says, with the values of `status`.

    metrics.py BANYAN
"""
import pathlib
import re
import socket
import sys

from steps import Pair, eventually

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"


def scrape(role):
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(role.socket)
        link.sendall(b"GET /metrics HTTP/1.1\r\nHost: replicate\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: link.recv(65536), b"")).decode()


def values(text):
    return {name: float(value) for name, value in
            re.findall(r'^banyan_replicate_(\w+)\{migration="shop"\} (\S+)$', text, re.M)}


def test_what_is_printed_is_documented(pair):
    printed = set(re.findall(r"^# TYPE (banyan_replicate_\w+) gauge$", scrape(pair.role), re.M))
    documented = set(re.findall(r"^\| `(banyan_replicate_\w+)` \| gauge \|", DOCS.read_text(), re.M))
    assert printed == documented and printed, printed ^ documented


def test_nothing_is_said_of_nobody(pair):
    assert not values(scrape(pair.role))


def test_the_values_are_those_of_the_status(pair):
    pair.old.psql("create table t(id int primary key, v text)", "shop")
    pair.start(spool={"kept_wal_bytes": 1})
    pair.wait_following()
    assert values(scrape(pair.role))["following"] == 1
    lock = pair.new.connect("shop", autocommit=False)
    with lock.cursor() as cursor:
        cursor.execute("lock table t in access exclusive mode")
        # Of a single transaction the position may pass all but the commit: the server says how far it has read.
        pair.old.psql("".join(f"insert into t select g, repeat('x', 100) from generate_series({n}001, {n + 1}000) g;\n"
                              for n in range(20)), "shop")

        def waits():
            now = values(scrape(pair.role))
            is_behind = min(now["spool_bytes"], now["lag_bytes"]) > 2_000_000
            return now if now["spool_only_copy"] == 1 and is_behind else None
        now = eventually(waits, "changes in the spool only")
        status = pair.call("status")
        assert now["spool_bytes"] <= status["stream"]["spool"]["bytes"], (now, status)
        assert now["spool_segments"] == status["stream"]["spool"]["segments"] >= 1, (now, status)
        assert now["kept_wal_bytes"] > 0 and now["lag_seconds"] >= 0, now
    lock.rollback()
    eventually(lambda: values(scrape(pair.role))["lag_bytes"] < 100_000, "the lag to go")


def main():
    with Pair(sys.argv[1]) as pair:
        for test in (test_what_is_printed_is_documented, test_nothing_is_said_of_nobody,
                     test_the_values_are_those_of_the_status):
            test(pair)
            print("ok  ", test.__name__)


if __name__ == "__main__":
    main()
