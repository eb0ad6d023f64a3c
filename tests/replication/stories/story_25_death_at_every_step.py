"""The coordinator dies after every step of the switch and of the way back: one side is open in the end, never none.

Others leave the tables denied on both sides.
"""
import psycopg2
from world import eventually

SETUP = "create table t(id int primary key, v int); insert into t select g, 0 from generate_series(1, 100) g"
STEPS = ["act.prepare", "act.fence", "act.await", "act.sequences", "act.check", "act.handover", "act.open"]


def accepts(move, side):
    try:
        move.side(side).run("update t set v = v + 1 where id = 1", move.name)
        return True
    except psycopg2.errors.ReadOnlySqlTransaction:
        return False


def until_death(move, last):
    epoch = move.next_epoch()
    for step in STEPS[:STEPS.index(last) + 1]:
        more = {"epoch": epoch} if step in ("act.fence", "act.await", "act.handover", "act.open") else {}
        if step == "act.fence":
            move.fence(epoch, tries=50)
        else:
            move.call(step, **more)
    move.role.kill9()
    move.role.start()
    return epoch


def take_over(move):
    """What a conductor does that finds the act half done."""
    state = eventually(lambda: move.call("act.state"), "the state")
    if state["act"] == "fenced":
        move.call("act.abort", epoch=state["epoch"])
    if state["act"] == "handed_over":
        move.call("act.open", epoch=state["epoch"])
    return move.call("act.state")["active"]


def run(world):
    with world.migration(SETUP) as move:
        active = "old"
        for _ in ("switch", "reverse"):
            for step in STEPS:
                before = active
                until_death(move, step)
                active = take_over(move)
                moved = step in ("act.handover", "act.open")
                assert (active != before) == moved, (step, before, active)
                writable = [side for side in ("old", "new") if accepts(move, side)]
                assert writable == [active], (step, writable, active)
                move.wait_following()
                if step == "act.handover":
                    # Back to where this turn began, so that the last step is tried from there too.
                    move.switch()
                    active = move.active()
        move.assert_equal(["t"])
        assert not move.call("status").get("tripwire"), move.call("status")
