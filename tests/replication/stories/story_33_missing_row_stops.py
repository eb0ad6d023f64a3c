"""A change of a row that is not there stops the stream, names the row, and goes on once it is put right.

The native apply worker skips it, with a message that nobody's log level shows.
"""
from world import eventually, mark, past_the_fence

SETUP = """create table mark(id int primary key); create table t(id int primary key, v int, body text);
           insert into t select g, 0, 'b' from generate_series(1, 100) g"""


def sabotage(move, sql):
    past_the_fence(move.new, sql, move.name)


def stopped(move):
    return eventually(lambda: (s := move.call("status"))["state"] == "failed" and s, "the stream to stop")


def run(world):
    with world.migration(SETUP) as move:
        for change in ("update t set v = 1 where id = 7", "update t set v = v + 1", "delete from t where id = 7"):
            sabotage(move, "delete from t where id = 7")
            move.old.run(change, move.name)
            status = stopped(move)
            assert "public.t" in status["error"] and "instead of 1" in status["error"], status
            misfit = status["stream"]["misfit"]
            assert misfit["table"] == "public.t" and misfit["key"] == [["id", "7"]], misfit
            assert misfit["target"] is None and misfit["lsn"] in status["error"], misfit
            assert all(f"{number}. " in status["remedy"] for number in (1, 2, 3)), status
            sabotage(move, f"insert into t values (7, (select max(v) - 1 + 1 from t), 'b')")
            move.start()
            mark(move)
        # A row that should not be there: its version here is shown beside the source's.
        sabotage(move, "insert into t values (500, 9, 'not ours')")
        move.old.run("insert into t values (500, 5, 'ours')", move.name)
        misfit = stopped(move)["stream"]["misfit"]
        assert ["body", "ours"] in misfit["source"] and "not ours" in misfit["target"], misfit
        sabotage(move, "delete from t where id = 500")
        move.start()
        mark(move)
        rows = "select t::text from t order by 1"
        assert move.old.run(rows, move.name) == move.new.run(rows, move.name)
