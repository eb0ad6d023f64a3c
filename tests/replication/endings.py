"""complete and cancel leave nothing of ours behind but a closed old side, and stay ended after a restart."""
import sys

import psycopg2

from steps import Pair, RpcError


def is_closed(server):
    try:
        server.run("insert into t values (1000, 1)", "shop")
        server.run("delete from t where id = 1000", "shop")
        return False
    except psycopg2.errors.ReadOnlySqlTransaction:
        return True


def followed(binary):
    pair = Pair(binary).__enter__()
    pair.old.psql("create table t(id int primary key, v int); insert into t values (1, 1)", "shop")
    pair.start()
    pair.wait_following()
    return pair


def assert_nothing_left(server):
    assert not server.run("select slot_name from pg_replication_slots", "shop")
    assert not server.run("select pubname from pg_publication", "shop")


def test_complete(pair):
    pair.switch()
    try:
        pair.call("cancel")
        raise AssertionError("cancelled with the new side active")
    except RpcError as error:
        assert error.code == "conflict", error
    for _ in range(2):
        pair.call("complete")
    pair.role.kill9()
    pair.role.start()
    assert pair.call("status")["state"] == "completed"
    for server in (pair.old, pair.new):
        assert_nothing_left(server)
    assert is_closed(pair.old) and not is_closed(pair.new)


def test_cancel(pair):
    pair.call("act.prepare")
    for _ in range(2):
        pair.call("cancel")
    try:
        pair.call("status")
        raise AssertionError("a cancelled migration is still known")
    except RpcError as gone:
        assert gone.code == "not_found", gone.code
    for server in (pair.old, pair.new):
        assert_nothing_left(server)
        assert not server.value("select to_regnamespace('banyan')", "shop")
    assert not is_closed(pair.old)


def main():
    for test in (test_complete, test_cancel):
        pair = followed(sys.argv[1])
        try:
            test(pair)
        finally:
            pair.__exit__(None, None, None)
        print("ok  ", test.__name__)


if __name__ == "__main__":
    main()
