#!/usr/bin/python3
"""A database moves there and back under load while everything that can fail does, seeded:

  replication_faults.py BANYAN [--kills N] [--seed S] [--point NAME]

  - at fail points (src/base/fail_point.h) the role dies as by kill -9, waits, or its step fails
  - the role, the source and the target die by kill -9 at random moments; their connections are cut;
    locks make the target slow; and once its disk is full

After every journey both sides are equal, exactly one may be written, and what was told as done is done. One journey
meets about 12 faults; BANYAN_KILLS=500 is a night's run, and `--point` tries one place again and again.
"""
import argparse
import contextlib
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "replication"), str(HERE.parent / "replication" / "stories"), str(HERE.parent / "lib")]
import psycopg2  # noqa: E402
from cluster import RpcError, eventually  # noqa: E402
from kill_and_resume import SETUP, TABLES, Load, is_writable  # noqa: E402
from world import World  # noqa: E402

SOURCES = HERE.parent.parent / "src"
POINTS_LEAST = 40
FAULTS_PER_JOURNEY = 12
SMALL = SETUP.replace("60000", "9000").replace("20000", "2000").replace("40000", "8000").replace("100000", "99000")


def fail_points():
    """Every name in the sources, each in one place only."""
    names = [name for path in (SOURCES / "planes" / "replication").glob("*.cc")
             for name in re.findall(r'fail_point\("([\w.]+)"\)', path.read_text())]
    assert len(set(names)) == len(names) >= POINTS_LEAST, len(names)
    return sorted(names)


class Faults:
    """What goes wrong in one journey: orders for fail points, and accidents at random moments."""

    def __init__(self, world, move, orders, chance):
        self.world, self.move, self.orders, self.chance = world, move, orders, chance
        self.stopping, self.trouble, self.deaths, self.accidents = threading.Event(), None, 0, 0
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def place(self, points, only):
        actions = ["kill"] * 4 + ["error"] * 2 + [f"delay {self.chance.randint(50, 400)}"]
        for point in ([only] if only else self.chance.sample(points, FAULTS_PER_JOURNEY)):
            (self.orders / point).write_text("kill" if only else self.chance.choice(actions))

    def reached(self):
        return sorted(path.name[:-8] for path in self.orders.glob("*.reached"))

    def run(self):
        try:
            next_accident = time.monotonic() + self.chance.uniform(1, 3)
            while not self.stopping.is_set():
                self.revive()
                if time.monotonic() > next_accident and self.accidents < 4:
                    self.accident()
                    next_accident = time.monotonic() + self.chance.uniform(1, 3)
                time.sleep(0.02)
        except Exception as error:
            self.trouble = error

    def revive(self):
        if self.world.role.process.poll() is None:
            return
        self.deaths += 1
        for _ in range(20):
            with contextlib.suppress(RuntimeError):  # killed again while it started
                return self.world.role.start()
        raise RuntimeError("the role does not start any more")

    def accident(self):
        self.accidents += 1
        server = self.chance.choice([self.world.old, self.world.new])
        what = self.chance.choice(["role", "server", "cut", "lock"])
        if what == "role":
            self.world.role.kill9()
        elif what == "server":
            server.kill9()
            server.start()
        elif what == "cut":
            server.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^banyan'")
        else:
            self.hold_lock(server)

    def hold_lock(self, server):
        with contextlib.suppress(psycopg2.Error):
            session = server.connect(self.move.name, autocommit=False)
            with session.cursor() as cursor:
                cursor.execute("set lock_timeout = '1s'; lock table item in share mode")
                time.sleep(self.chance.uniform(0.1, 0.5))
            session.close()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for path in self.orders.iterdir():
            path.unlink()
        self.revive()
        if self.trouble:
            raise self.trouble


def attempt(call):
    """The answer, or None when the role died, refused or lost a database: it is asked again."""
    try:
        return call()
    except Exception as error:
        if isinstance(error, AssertionError):
            raise
        return None


def settle(move):
    """What a conductor does that finds an act half done; the state in the end."""
    def settled():
        state = attempt(lambda: move.call("act.state"))
        if not state:
            return None
        if state["act"] == "fenced":
            attempt(lambda: move.call("act.abort", epoch=state["epoch"]))
            return None
        if state["act"] == "handed_over":
            attempt(lambda: move.call("act.open", epoch=state["epoch"]))
            return None
        return state
    state = eventually(settled, "one side to be open")
    move.epoch = max(move.epoch, state["epoch"])
    return state


def cut_over(move, to):
    """The act, again and again, until the other side is active; after each try exactly one side takes writes."""
    tries = 0
    while True:
        tries += 1
        attempt(move.switch)
        state = settle(move)
        writable = eventually(lambda: attempt(lambda: [side for side in ("old", "new")
                                                       if is_writable(move.side(side), move.name)]), "the servers")
        assert writable == [state["active"]], (writable, state)
        if state["active"] == to:
            return tries
        assert tries < 60, f"never moved to the {to} side: {attempt(lambda: move.call('status'))}"


def follow(move):
    config = {"config": move.config()}

    def following():
        attempt(lambda: move.call("start", **config))
        status = attempt(lambda: move.call("status"))
        assert not status or status["state"] != "failed", status
        return status and status["state"] == "following"
    eventually(following, "following", pause_s=0.1)


def equal(move):
    def verdict():
        found = attempt(lambda: move.call("verify", wait_ms=10000))
        return found if found and found["state"] in ("equal", "different") else None
    found = eventually(verdict, "verification")
    assert found["state"] == "equal", found


def journey(world, orders, points, chance, only):
    with world.migration(SMALL, begin=False) as move:
        load = Load(move, chance.randrange(1 << 30))
        load.start()
        faults = Faults(world, move, orders, chance)
        faults.place(points, only)
        faults.thread.start()
        try:
            follow(move)
            tries = [cut_over(move, to) for to in ("new", "old")]
        finally:
            reached = faults.reached()
            faults.stop()
            load.stopping.set()
            load.join()
        assert load.trouble is None, load.trouble
        follow(move)
        move.assert_equal(TABLES)
        equal(move)
        status = move.call("status")
        assert not status.get("tripwire"), status
        print(f"ok   {len(reached)} points met, {faults.deaths} deaths of the role, {faults.accidents} accidents, "
              f"{load.done} transactions, switched in {tries} tries: {' '.join(reached)}", flush=True)
        return len(reached) + faults.accidents


def test_full_disk(world):
    """The target's disk is full in the middle of the copy: it waits, and goes on when there is room."""
    with tempfile.TemporaryDirectory(prefix="banyan-small-") as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=777", "none", folder], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            return print("skip a full disk: mounting a small one is not permitted here")
        try:
            data = pathlib.Path(folder, "data")
            data.mkdir()
            os.chown(data, *os.stat(world.new.data)[4:6])
            world.new.run(f"create tablespace small location '{data}'")
            with world.migration(SETUP, begin=False) as move:
                world.new.run(f"drop database {move.name}")
                world.new.run(f"create database {move.name} tablespace small")
                move.start()
                status = eventually(lambda: (s := move.call("status")).get("error") and "space" in s["error"] and s,
                                    "the full disk to be told")
                assert status["state"] != "failed", status
                subprocess.run(["mount", "-o", "remount,size=300m", folder], check=True)
                move.wait_following()
                move.assert_equal(TABLES)
            world.new.run("drop tablespace small")
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
    print("ok   a full disk", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banyan")
    parser.add_argument("--kills", type=int, default=int(os.environ.get("BANYAN_KILLS", 30)))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("BANYAN_SEED", 1)))
    parser.add_argument("--point", help="only this fail point, with kill")
    options = parser.parse_args()
    points, chance, met = fail_points(), random.Random(options.seed), 0
    print(f"{len(points)} fail points, seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="banyan-points-") as folder:
        os.environ["BANYAN_CHECKPOINTS"] = folder
        with World(options.banyan) as world:
            test_full_disk(world)
            try:
                while met < options.kills:
                    met += journey(world, pathlib.Path(folder), points, chance, options.point)
            except BaseException:
                print(f"seed {options.seed}", world.role.log_tail(60), sep="\n", flush=True)
                raise
    print(f"passed: {met} faults")


if __name__ == "__main__":
    main()
