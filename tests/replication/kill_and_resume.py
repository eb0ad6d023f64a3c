"""The role dies by kill -9 at random moments of the copy, of following and of the act, and so does the
target server: it resumes, finished work is kept, and both sides are equal. A takeover in the middle of the
act ends with exactly one side open.

    kill_and_resume.py BANYAN [seed]
"""
import random
import sys
import threading
import time

import psycopg2

from steps import Pair, RpcError, eventually

TABLES = ["item", "note", "part", "word"]
SETUP = """
create table item(id serial primary key, v int, body text);
insert into item(v, body) select g, repeat(md5(g::text), 4) from generate_series(1, 60000) g;
create table note(a int, b text); insert into note select g % 100, 'n' from generate_series(1, 3000) g;
create table part(id int primary key, v int) partition by range (id);
create table part1 partition of part for values from (0) to (20000);
create table part2 partition of part for values from (20000) to (100000);
insert into part select g, g from generate_series(1, 40000) g;
create table word(k text primary key, n int unique deferrable, body text);
insert into word select 'w' || g, g, (select string_agg(md5(g::text || i), '') from generate_series(1, 90) i) from generate_series(0, 399) g;
create index on item(v); create index on part(v);
"""


class Load(threading.Thread):
    """Writes of every kind to whichever side is open."""

    def __init__(self, pair, seed):
        super().__init__(daemon=True)
        self.pair, self.random = pair, random.Random(seed)
        self.stopping, self.done, self.trouble = threading.Event(), 0, None

    def statement(self):
        number = self.random.randint(1, 60000)
        return self.random.choice([
            f"update item set v = v + 1 where id = {number}",
            f"delete from item where id = {number}",
            f"insert into item(v, body) values ({number}, 'new')",
            f"insert into note values ({number % 100}, null)",
            f"delete from note where ctid = (select min(ctid) from note where a = {number % 100})",
            f"update part set v = v + 1 where id = {number}",
            f"update part set id = id + 40000 where id = {number} and id < 40000 "
            f"and not exists (select 1 from part where id = {number} + 40000)",
            f"update word set k = k || '.' where k = 'w{number % 400}'",  # its long value does not travel along
            f"delete from word where k = 'w{number % 400}'",
            f"insert into word values ('w{number % 400}', null, repeat('{number}', 900)) on conflict do nothing",
            f"update word set n = {number % 400} + {(number + 7) % 400} - n where n in ({number % 400}, {(number + 7) % 400})",
        ])

    def run(self):
        try:
            while not self.stopping.is_set():
                for server in (self.pair.old, self.pair.new):
                    self.write(server)
        except Exception as error:
            self.trouble = error

    def write(self, server):
        try:
            session = server.connect(self.pair.name, autocommit=False)
            for _ in range(20):
                with session.cursor() as cursor:
                    for _ in range(self.random.randint(1, 5)):
                        cursor.execute(self.statement())
                session.commit()
                self.done += 1
                time.sleep(0.004)
        except (psycopg2.errors.ReadOnlySqlTransaction, psycopg2.OperationalError):
            time.sleep(0.02)
        except psycopg2.errors.UndefinedTable:
            time.sleep(0.05)  # not moved yet
        finally:
            try:
                session.close()
            except UnboundLocalError:
                pass


def copied_rows(pair):
    try:
        rows = pair.new.run("select coalesce(sum(rows), 0) from banyan.applied_chunks", "shop")
        return rows[0][0]
    except psycopg2.Error:
        return 0


def kill_during_copy(pair, chance):
    kept = 0
    for _ in range(5):
        time.sleep(chance.uniform(0.05, 0.6))
        pair.role.kill9()
        now = copied_rows(pair)
        assert now >= kept, f"finished chunks were forgotten: {kept} then {now}"
        kept = now
        pair.role.start()
    pair.start()
    pair.wait_following()


def kill_while_following(pair, chance):
    for turn in range(5):
        time.sleep(chance.uniform(0.1, 0.5))
        if turn == 2:
            pair.new.kill9()
            pair.new.start()
        else:
            pair.role.kill9()
            pair.role.start()
    pair.wait_following()
    verdict = pair.verify()
    assert verdict["state"] == "equal", verdict


def act_until_killed(pair, epoch):
    """The act, given up silently wherever the role disappears."""
    try:
        pair.call("act.prepare")
        pair.fence(epoch)
        pair.call("act.await", epoch=epoch, timeout_ms=20000)
        pair.call("act.sequences")
        pair.call("act.check")
        pair.call("act.handover", epoch=epoch)
        pair.call("act.open", epoch=epoch)
    except (OSError, RpcError, ConnectionError) as error:
        return error
    except Exception as error:  # a broken HTTP answer
        return error
    return None


def take_over(pair):
    """What a conductor does that finds an act half done."""
    state = eventually(lambda: answered(lambda: pair.call("act.state")), "act.state")
    if state["act"] == "fenced":
        answered(lambda: pair.call("act.abort", epoch=state["epoch"]))
    if state["act"] == "handed_over":
        eventually(lambda: answered(lambda: pair.call("act.open", epoch=state["epoch"])) is not None, "act.open")
    state = pair.call("act.state")
    assert state["act"] in ("running", "open"), state
    pair.epoch = max(pair.epoch, state["epoch"])
    return state


def answered(call):
    try:
        return call()
    except (RpcError, OSError):
        return None


def kill_in_the_act(pair, chance):
    for turn in range(12):
        thread = threading.Thread(target=act_until_killed, args=(pair, pair.next_epoch()))
        thread.start()
        time.sleep(chance.uniform(0.0, 0.3))
        pair.role.kill9()
        thread.join()
        pair.role.start()
        state = take_over(pair)
        writable = [name for name in ("old", "new") if is_writable(pair.side(name))]
        assert writable == [state["active"]], (writable, state)
    pair.wait_following()


def is_writable(server, database="shop"):
    session = server.connect(database, autocommit=False)
    try:
        with session.cursor() as cursor:
            cursor.execute("update item set v = v where false")
        return True
    except psycopg2.errors.ReadOnlySqlTransaction:
        return False
    finally:
        session.rollback()
        session.close()


def main():
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1_000_000)
    print("seed", seed)
    chance = random.Random(seed)
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        load = Load(pair, seed)
        load.start()
        pair.start()
        for test in (kill_during_copy, kill_while_following, kill_in_the_act):
            test(pair, chance)
            print("ok  ", test.__name__, f"{load.done} transactions")
        load.stopping.set()
        load.join()
        assert load.trouble is None, load.trouble
        pair.assert_equal(TABLES)
        verdict = pair.verify()
        assert verdict["state"] == "equal", verdict
        assert not pair.call("status").get("tripwire"), pair.call("status")
        print("equal:", verdict["rows"], "rows")


if __name__ == "__main__":
    main()
