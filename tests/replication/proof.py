"""What is proven: a comparison of what was written since the last one reads only that, and never believes a row that
was written afterwards, whoever dies in between; what was not proven before a switch is proven after it, or an alarm."""
import sys

from steps import Pair, eventually, past_the_fence

SETUP = """
create table t(id bigserial primary key, v int, note text); insert into t(v) select g from generate_series(1, 20000) g;
create table two(a int, b text, v int, primary key (a, b));
insert into two select g, 'k' || g, g from generate_series(1, 3000) g;
create table word(id uuid primary key, v int); insert into word select md5(g::text)::uuid, g from generate_series(1, 3000) g;
create table bag(a int, b text); insert into bag select g, 'x' from generate_series(1, 500) g;
create table still(id int primary key, v int); insert into still select g, g from generate_series(1, 5000) g;
"""
WRITES = [
    "update t set v = v + 1 where id in (5, 700, 701)",
    "insert into t(v) values (1), (2)",
    "delete from t where id = 9",
    "update t set id = id + 1000000 where id = 11",
    "update two set v = -1 where a = 7; delete from two where a = 8",
    "update word set v = -1 where id = md5('77')::uuid",
]
ROWS = 31500


def proven(pair):
    return pair.call("status")["proven"]


def unproven_of(pair, table):
    return {t["table"]: t["unproven_rows"] for t in proven(pair)["tables"]}["public." + table]


def applied(pair):
    """What was written so far is on the other side."""
    mark = pair.old.value("insert into still(id, v) select max(id) + 1, 0 from still returning id", "shop")
    eventually(lambda: pair.new.value(f"select 1 from still where id = {mark}", "shop"), "the stream")


def differing(verdict):
    return [(t["table"], d["key"]) for t in verdict["tables"] for d in t["differences"]]


def test_only_what_was_touched(pair):
    before = proven(pair)
    assert before["unproven_rows"] == before["rows"] >= ROWS, before
    assert pair.verify("unproven")["rows"] == ROWS, "what was never proven is compared whole"
    after = proven(pair)
    assert after["unproven_rows"] == 0 and after["rows"] == ROWS, after
    assert all(t["position"] and t["at_ms"] for t in after["tables"]), after
    assert pair.verify("unproven")["rows"] == 0
    for sql in WRITES:
        pair.old.run(sql, "shop")
    applied(pair)
    # Keys: 5, 700, 701, two new ones, 9, 11 before and after.
    assert unproven_of(pair, "t") == 8, proven(pair)
    assert (unproven_of(pair, "two"), unproven_of(pair, "word"), unproven_of(pair, "bag")) == (2, 1, 0), proven(pair)
    verdict = pair.verify("unproven")
    # Of the keys only those that have a row.
    assert verdict["state"] == "equal" and verdict["rows"] == 6 + 1 + 1 + 1, verdict
    assert proven(pair)["unproven_rows"] == 0
    pair.old.run("update t set v = v + 1", "shop")
    applied(pair)
    verdict = pair.verify("unproven")
    assert verdict["state"] == "equal" and verdict["rows"] >= 20001, "so many keys are told as ranges"
    pair.old.run("delete from bag where a = 3; truncate two", "shop")
    applied(pair)
    assert (unproven_of(pair, "bag"), unproven_of(pair, "two")) == (500, 3000), "no key; truncated"
    verdict = pair.verify("unproven")
    assert verdict["state"] == "equal" and verdict["rows"] == 499 + 1, verdict


def test_sabotage(pair):
    """Of a row that no stream told of: found by comparing everything. Of one that was touched: at once."""
    past_the_fence(pair.new, "update t set v = -5 where id = 4000")
    assert pair.verify("unproven")["state"] == "equal"
    assert differing(pair.verify()) == [("public.t", "(4000)")]
    assert unproven_of(pair, "t") > 19000, "what differs is not proven"
    assert differing(pair.verify("unproven")) == [("public.t", "(4000)")], "until it is equal"
    past_the_fence(pair.new, "update t set v = 4001 where id = 4000")
    assert pair.verify("unproven")["state"] == "equal"
    pair.old.run("update t set v = v + 1 where id = 4001; update word set v = 0 where id = md5('5')::uuid", "shop")
    applied(pair)
    past_the_fence(pair.new, "update t set v = -5 where id = 4001; delete from word where id = md5('5')::uuid")
    found = differing(pair.verify("unproven"))
    assert [table for table, _ in found] == ["public.t", "public.word"] and found[0][1] == "(4001)", found
    repaired = pair.repair()
    assert repaired["state"] == "repaired" and repaired["rows"] == 2, repaired
    assert pair.verify("unproven")["state"] == "equal"
    assert proven(pair)["unproven_rows"] == 0


def checked_in_the_pause(pair):
    epoch = pair.next_epoch()
    pair.call("act.prepare")
    pair.fence(epoch)
    pair.call("act.await", epoch=epoch, timeout_ms=60000)
    checked = pair.call("act.check")
    pair.call("act.abort", epoch=epoch)
    return checked


def test_pause(pair):
    """Between fence and handover the rows that were written last are looked at, whether their tables are proven or not."""
    pair.old.run("update t set v = v + 1 where id in (6001, 6002); update two set v = 5 where a = 1", "shop")
    applied(pair)
    checked = checked_in_the_pause(pair)
    assert checked["equal"] and checked["tables"] >= 2 and checked["rows"] >= 3, checked
    past_the_fence(pair.new, "update t set v = -5 where id = 6002")
    assert not checked_in_the_pause(pair)["equal"]
    past_the_fence(pair.new, f"update t set v = {pair.old.value('select v from t where id = 6002', 'shop')} where id = 6002")


def test_kill(pair):
    """Nothing that was written before or after a kill -9 is believed."""
    for key in (100, 101, 102):
        pair.old.run(f"update t set v = v + 1 where id = {key}", "shop")
        if key == 101:
            applied(pair)
        pair.role.kill9()
        pair.old.run(f"update t set v = v + 1 where id = {key + 10000}", "shop")
        pair.role.restart()
    applied(pair)
    assert unproven_of(pair, "t") == 6, proven(pair)
    past_the_fence(pair.new, "update t set v = -1 where id in (100, 101, 102, 10100, 10101, 10102)")
    found = differing(pair.verify("unproven"))
    assert len(found) == 6 and {table for table, _ in found} == {"public.t"}, found
    pair.repair()
    assert pair.verify("unproven")["state"] == "equal"


def test_there_and_back(pair):
    """The proof goes on when the direction turns: what the way back writes is touched too."""
    pair.switch()
    eventually(lambda: pair.call("status")["proof"]["state"] == "equal", "the proof of the switch")
    assert proven(pair)["unproven_rows"] == 0
    pair.new.run("update t set v = v + 1 where id = 300; insert into word values (md5('new')::uuid, 1)", "shop")
    eventually(lambda: pair.old.value("select 1 from word where id = md5('new')::uuid", "shop"), "the way back")
    assert (unproven_of(pair, "t"), unproven_of(pair, "word")) == (1, 1), proven(pair)
    past_the_fence(pair.old, "update t set v = -1 where id = 300")
    assert differing(pair.verify("unproven")) == [("public.t", "(300)")]
    pair.repair()
    assert pair.verify("unproven")["state"] == "equal"


def test_mapped(binary):
    """Under other names, in both directions; every table with snapshots of its own."""
    with Pair(binary) as pair:
        pair.old.psql(SETUP, "shop")
        pair.new.psql("create schema hr", "shop")
        pair.start(snapshot_age_ms=0, jobs=1, map=[
            {"table": "t", "to": "hr.staff", "columns": {"id": "staff_id"}, "where": "id > 100"},
            {"table": "two", "columns": {"a": "z"}}])
        pair.wait_following()
        assert pair.verify()["state"] == "equal"
        assert proven(pair)["unproven_rows"] == 0, proven(pair)
        pair.old.run("update t set v = 0 where id in (7, 1007); update two set v = 0 where a in (7, 8)", "shop")
        applied(pair)
        assert (unproven_of(pair, "t"), unproven_of(pair, "two")) == (1, 2), proven(pair)
        verdict = pair.verify("unproven")
        assert verdict["state"] == "equal" and verdict["rows"] == 3 + 1, verdict
        pair.switch()
        eventually(lambda: pair.call("status")["proof"]["state"] == "equal", "the proof of the switch")
        pair.new.run("update hr.staff set v = 1 where staff_id = 1008; update two set v = 1 where z = 9", "shop")
        eventually(lambda: pair.old.value("select 1 from two where a = 9 and v = 1", "shop"), "the way back")
        assert (unproven_of(pair, "t"), unproven_of(pair, "two")) == (1, 1), proven(pair)
        verdict = pair.verify("unproven")
        assert verdict["state"] == "equal" and verdict["rows"] == 2, verdict
        past_the_fence(pair.old, "update t set v = -1 where id = 1008")
        assert pair.verify("unproven")["state"] == "equal", "settled before"
        assert differing(pair.verify()) == [("hr.staff", "(1008)")]


# Type of the key, and row g's value of it. None of the collations sorts as the other side's has to.
KEY_TYPES = {
    "uuid": "md5(g::text)::uuid", 'text collate "C"': "'k' || g", 'text collate "und-x-icu"': "'Ä' || g || E'\\'\\\\'",
    "varchar(9)": "g::text", "char(9)": "'c' || g", "timestamp": "timestamp '2024-01-01' + g * interval '1.5 s'",
    "timestamptz": "timestamptz '2024-10-27 00:00+00' + g * interval '1 s'", "numeric": "g / 7.0", "bytea": "sha256(g::text::bytea)",
    "date": "date '1990-01-01' + g", "float8": "g / 3.0::float8", "positive": "g",
}
ROWS_OF_KEY, TOUCHED_OF_KEY = 20000, 17000


def test_key_types(binary):
    """Whatever the key is, only what was touched is read; a sabotage in it is found by its key, and nothing else told."""
    names = [f"k{at}" for at in range(len(KEY_TYPES))] + ["pair"]
    keys = {**{name: "id" for name in names}, "pair": "a, b"}
    with Pair(binary) as pair:
        pair.old.psql("create domain positive as int check (value > 0); create table pair(a int, b text, v int, primary key (b, a));"
                      f"insert into pair select g, 'b' || g, 0 from generate_series(1, {ROWS_OF_KEY}) g;" + "".join(
                          f"create table {name}(id {kind} primary key, v int);"
                          f"insert into {name} select {value}, 0 from generate_series(1, {ROWS_OF_KEY}) g;"
                          for name, (kind, value) in zip(names, KEY_TYPES.items())), "shop")
        pair.old.psql("create table still(id int primary key, v int); insert into still values (1, 1)", "shop")
        pair.start()
        pair.wait_following()
        assert pair.verify()["state"] == "equal"
        for name in names:
            pair.old.run(f"update {name} set v = 1 where ({keys[name]}) in (select {keys[name]} from {name} order by {keys[name]} "
                         f"limit {TOUCHED_OF_KEY})", "shop")
        applied(pair)
        assert {name: unproven_of(pair, name) for name in names} == dict.fromkeys(names, TOUCHED_OF_KEY), proven(pair)
        # One row that was touched and one that was not, in every table.
        sabotaged = {}
        for name in names:
            past_the_fence(pair.new, f"update {name} set v = -1 where ({keys[name]}) in (select {keys[name]} from {name} where v = 0 limit 1)")
            sabotaged[name] = pair.new.value(f"select row({keys[name]})::text from {name} where v = 1 limit 1", "shop")
            past_the_fence(pair.new, f"update {name} set v = -2 where row({keys[name]})::text = $key${sabotaged[name]}$key$")
        verdict = pair.verify("unproven")
        assert dict(differing(verdict)) == {f"public.{name}": key for name, key in sabotaged.items()}, differing(verdict)
        assert len(differing(verdict)) == len(names), differing(verdict)
        assert verdict["rows"] == TOUCHED_OF_KEY * len(names) + 1, verdict["rows"]


def alarm(pair):
    return eventually(lambda: (p := pair.call("status")["proof"])["state"] == "different" and p, "the alarm")


def test_never_verified(binary):
    """What nobody verified before the switch is compared after it, by snapshots of the barrier; and when the role
    dies first, as it is then. The alarm names the row, and goes when the sides are equal again."""
    for is_killed in (False, True):
        with Pair(binary) as pair:
            pair.old.psql(SETUP, "shop")
            # Large enough to be read in parts.
            pair.old.psql("insert into still select g, g from generate_series(5001, 210000) g; analyze still", "shop")
            pair.start(ddl_every_ms=500)
            pair.wait_following()
            if not is_killed:
                test_pause(pair)
            past_the_fence(pair.new, "update still set v = -1 where id = 77; insert into still values (900000, -2)")
            pair.switch()
            if is_killed:
                pair.role.kill9()
                pair.role.restart()
            found = alarm(pair)
            assert differing(found) == [("public.still", "(77)"), ("public.still", "(900000)")], found
            assert "migrate repair shop" in found["remedy"] and "reverse" in found["remedy"], found
            assert unproven_of(pair, "still") >= 210000 and unproven_of(pair, "t") == 0, proven(pair)
            # The new side serves, so its row is the true one now.
            pair.repair()
            assert pair.old.value("select v from still where id = 77", "shop") == -1
            assert pair.verify("unproven")["state"] == "equal"
            assert pair.call("status")["proof"]["state"] == "none"
            print("ok   after the switch", "by a role that was killed" if is_killed else "by the barrier's snapshots")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        pair.start()
        pair.wait_following()
        for test in (test_only_what_was_touched, test_sabotage, test_kill, test_pause, test_there_and_back):
            test(pair)
            print("ok  ", test.__name__)
    for test in (test_mapped, test_key_types):
        test(sys.argv[1])
        print("ok  ", test.__name__)
    test_never_verified(sys.argv[1])


if __name__ == "__main__":
    main()
