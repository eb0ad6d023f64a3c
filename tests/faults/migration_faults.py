#!/usr/bin/python3
"""The whole migration at small size, with kill -9 at each step of the switch and of the reverse.

  migration_faults.py BANYAN [--kills N] [--seed S]

Before a chosen act the conductor is stopped (BANYAN_CHECKPOINTS); there one process is killed: the conductor, the
gateway, the replicator, the agent, the source or the target server. Then it goes on, and afterwards exactly one
database accepts writes, the gateway leads to that side, and at the very end every acknowledged write of the users is
there exactly once. A failing run prints its seed.
"""
import argparse
import asyncio
import collections
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "lib")]
import demo  # noqa: E402
import demo_world  # noqa: E402
import psycopg2  # noqa: E402

STEPS = ["prepare", "hold", "commit-hold", "fence", "catch-up", "sequences", "files", "sessions", "check",
         "hand-over", "open", "turn", "flip", "release"]
VICTIMS = ["control", "gateway", "replicate", "agent", "source", "target"]
OK, PRECONDITION, ABORTED = 0, 3, 7
ACT_S = 120
Size = collections.namedtuple("Size", "documents people users rate settle_s")
SMALL = Size(documents=40, people=12, users=10, rate=12, settle_s=0)


class Silent:
    """The demo's screen, for a test: only what matters is printed."""

    def say(self, text=""):
        print(text, flush=True)

    def bold(self, text):
        return text


def launch(postgres):
    options = [word for name, value in postgres.SETTINGS.items() for word in ("-c", f"{name}={value}")]
    postgres.world.spawn(f"postgres-{postgres.name}", postgres._as_postgres() + [
        f"{postgres.binaries}/postgres", "-D", str(postgres.home / "data"), "-p", str(postgres.port),
        "-k", str(postgres.home), *options], cwd="/")
    demo_world.wait_until(postgres._is_ready, f"PostgreSQL {postgres.name}")


def kill_tree(pid):
    """kill -9 of a process and its children, at once."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True,
                              check=False).stdout.split()
    for victim in [pid, *map(int, children)]:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass


def crash_server(postgres):
    pidfile = postgres.home / "data" / "postmaster.pid"
    pid = int(pidfile.read_text().splitlines()[0])
    kill_tree(pid)
    os.waitpid(pid, 0)  # a zombie would still own the lock file of the socket
    pidfile.unlink(missing_ok=True)
    launch(postgres)


class Faults:
    def __init__(self, options):
        self.options = options
        self.chance = random.Random(options.seed)
        self.directory = tempfile.mkdtemp(prefix="banyan-faults-")
        os.rmdir(self.directory)
        self.world = demo_world.World(self.directory, SMALL)
        self.cli = demo.Cli(options.banyan, self.world, Silent())
        self.side = "old"
        self.outcomes = collections.Counter()

    def begin(self):
        self.world.create()
        self.checkpoints = pathlib.Path(self.directory) / "checkpoints"
        self.checkpoints.mkdir()
        os.environ["BANYAN_CHECKPOINTS"] = str(self.checkpoints)
        self.world.start_old()
        self.world.start_new()
        self.world.write_spec()
        self.cli.run("up", "--detach")
        demo_world.wait_until(lambda: demo_world.answers_http(self.world.gateway_url() + "/healthz"), "the gateway")
        self.load = demo.Load(self.world)
        self.cli.run("apply")
        self.cli.run("migrate", "create", "lift")
        self.cli.insist("migrate", "verify", "lift", tries=10)

    def role_pid(self, role):
        """Pid of a role of this world, by its command line."""
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if len(words) > 2 and words[1] == role.encode() and self.directory.encode() in b" ".join(words):
                return int(entry.name)
        return None

    def kill(self, victim):
        if victim in ("source", "target"):
            crash_server(self.world.old if victim == "source" else self.world.new)
        elif pid := self.role_pid(victim):
            os.kill(pid, signal.SIGKILL)

    def round(self, step, victim):
        """One act with one kill; the act must end, moved or rolled back. A gate that turned red again is asked anew."""
        while self.attempt(step, victim) == PRECONDITION:
            pass

    def attempt(self, step, victim):
        verb = "switch" if self.side == "old" else "reverse"
        self.wait_green(verb)
        point = f"conduct.{step}"
        wanted, reached = self.checkpoints / point, self.checkpoints / f"{point}.reached"
        part = self.checkpoints / "part"
        part.write_text("stop")
        part.rename(wanted)
        act = subprocess.Popen([self.options.banyan, "migrate", verb, "lift", "--json"], cwd=self.directory,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not reached.exists() and act.poll() is None:
            time.sleep(0.002)
        if not reached.exists() and act.poll() == PRECONDITION:
            wanted.unlink(missing_ok=True)
            return PRECONDITION
        self.kill(victim)
        reached.unlink(missing_ok=True)
        wanted.unlink(missing_ok=True)
        output = act.communicate(timeout=ACT_S)[0]
        assert act.returncode in (OK, ABORTED), f"{verb} with {victim} killed at {step}: exit {act.returncode}\n{output}"
        if act.returncode == OK:
            self.side = "new" if self.side == "old" else "old"
        self.outcomes[f"{verb}: {'moved' if act.returncode == OK else 'rolled back'}"] += 1
        self.check_one_writer(f"{verb} with {victim} killed at {step}")
        print(f"  {verb:8} {victim:10} killed at {step:12} -> exit {act.returncode}, {self.side} serves", flush=True)
        return act.returncode

    def wait_green(self, verb):
        def green():
            done = subprocess.run([self.options.banyan, "migrate", verb, "lift", "--dry-run", "--json"],
                                  cwd=self.directory, capture_output=True, text=True, check=False)
            self.seen = done.stdout
            return done.returncode == OK and '"green": false' not in done.stdout

        try:
            demo_world.wait_until(green, f"the gates of {verb}", ACT_S)
        except demo_world.DemoError:
            raise AssertionError(f"{verb} never became possible again: {self.seen}") from None

    def accepts_writes(self, postgres):
        with psycopg2.connect(postgres.url()) as connection, connection.cursor() as cursor:
            try:
                cursor.execute("UPDATE documents_document SET title = title WHERE false")
                return True
            except psycopg2.Error as error:
                assert error.pgcode == "25006", error
                return False

    def check_one_writer(self, when):
        writers = [self.accepts_writes(self.world.old), self.accepts_writes(self.world.new)]
        assert writers == [self.side == "old", self.side == "new"], f"{when}: writers (old, new) = {writers}"
        route = self.cli.ask("route", "ls")["snapshot"]["routes"][0]["to"]
        assert route == ("source" if self.side == "old" else "web"), f"{when}: the gateway leads to {route}"

    def wait_equal(self):
        """Without users both sides must become equal: what was written last is still on its way to the old disk."""
        def equal():
            self.seen = self.cli.ask("migrate", "verify", "lift")
            return self.seen.get("equal")

        try:
            demo_world.wait_until(equal, "both sides to be equal", ACT_S)
        except demo_world.DemoError:
            raise AssertionError(f"the sides stay different: {self.seen}") from None

    def end(self):
        if self.side == "old":
            self.wait_green("switch")
            self.cli.insist("migrate", "switch", "lift")
        figures = self.load.stop()
        self.wait_equal()
        runner = demo.Demo.__new__(demo.Demo)
        runner.world, runner.load = self.world, self.load
        verdict = asyncio.run(runner.check_ledger()).as_json()
        print(f"  {figures['acknowledged_writes']} acknowledged writes, {figures['requests']} requests; {verdict}")
        assert figures["acknowledged_writes"] > 0
        for name in ("lost_writes", "duplicated_writes"):
            assert verdict[name] == 0, f"{name}: {verdict[name]}"
        assert figures["logged_out_users"] == 0, f"{figures['logged_out_users']} users were logged out"

    def run(self):
        cases = list(itertools.product(STEPS, VICTIMS))
        self.chance.shuffle(cases)
        try:
            self.begin()
            for step, victim in cases[:self.options.kills]:
                self.round(step, victim)
            self.end()
        except BaseException:
            print(f"seed {self.options.seed}; state kept in {self.directory}" if self.options.keep else
                  f"seed {self.options.seed}", flush=True)
            raise
        finally:
            if not self.options.keep:
                demo_world.clean(self.directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banyan")
    parser.add_argument("--kills", type=int, default=42)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("BANYAN_SEED", 1)))
    parser.add_argument("--keep", action="store_true", help="leave everything for a look after a failure")
    options = parser.parse_args()
    options.banyan = os.path.abspath(options.banyan)
    faults = Faults(options)
    faults.run()
    print(f"passed: {faults.options.kills} kills, seed {faults.options.seed}; {dict(faults.outcomes)}")


if __name__ == "__main__":
    main()
