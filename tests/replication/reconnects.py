"""A batch of what two connections brought: the server describes every relation again, and the order of a row's changes
stays what it was, however they are written.

    reconnects.py BANYAN
"""
import sys

from steps import Pair, eventually

ROWS = 40
SETUP = f"""
create table word(k text primary key, n int, body text); alter table word alter body set storage external;
insert into word select 'w' || g, 0, repeat('b', 5000) from generate_series(1, {ROWS}) g;
"""
CONNECTED = "select active_pid from pg_replication_slots where active"


def reconnect(server):
    before = server.value(CONNECTED)
    server.run(f"select pg_terminate_backend({before})")
    eventually(lambda: server.value(CONNECTED) not in (None, before), "another connection")


def received(pair):
    """Everything that is committed on the source lies in the role's log."""
    position = pair.old.value("select pg_current_wal_lsn()")
    eventually(lambda: pair.old.value(f"select pg_wal_lsn_diff('{pair.call('status')['stream']['received_lsn']}', '{position}') >= 0"),
               "everything to be received")


def in_one_batch(pair, *parts):
    """Each part comes by a connection of its own, and they are applied together."""
    holder = pair.new.connect("shop", autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("lock table banyan.progress in access exclusive mode")
    pair.old.run("insert into word values ('first', 0, '')", "shop")  # the batch that waits by itself
    for number, part in enumerate(parts):
        if number:
            reconnect(pair.old)
        for statement in part:
            pair.old.run(statement, "shop")
        received(pair)
    holder.rollback()
    holder.close()
    pair.old.run("delete from word where k = 'first'", "shop")
    pair.assert_equal(["word"])
    assert pair.verify()["state"] == "equal"


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start(appliers=1)
        pair.wait_following()
        # Sets of rows first, then one by one: a key that changes without its large value.
        sets = [f"update word set n = 1 where k = 'w{row}'" for row in range(1, ROWS)]
        single = [f"update word set k = k || '.' where k = 'w{ROWS}'", "update word set n = 2 where k = 'w7'"]
        in_one_batch(pair, sets, single)
        print("ok   sets of rows, then one by one")
        in_one_batch(pair, [f"update word set k = k || '.' where k = 'w{ROWS}.'", "update word set n = 3 where k = 'w7'"],
                     [s.replace("n = 1", "n = 4") for s in sets])
        print("ok   one by one, then sets of rows")


if __name__ == "__main__":
    main()
