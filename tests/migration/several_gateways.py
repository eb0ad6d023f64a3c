#!/usr/bin/python3
"""Switches with two gateways under load, of which one is killed (-9) or stopped (SIGSTOP) at each step.

  several_gateways.py BANYAN

With BANYAN_LONG=1 both at each step, else one or the other. Real: two PostgreSQL servers, a writing application on both sides, `banyan up` with every role. Whatever happens, no
write reaches the side that was fenced, and each acknowledged write stands exactly once where the routes lead at the end.
"""
import collections
import contextlib
import http.client
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from project import HERE, Project, eventually  # noqa: E402

STEPS = ["hold", "commit-hold", "fence", "hand-over", "flip", "release"]
ALL = list(itertools.product(STEPS, [signal.SIGSTOP, signal.SIGKILL]))
ROUNDS = ALL if os.environ.get("BANYAN_LONG") else ALL[::4] + ALL[3::4]
OK, PRECONDITION, ABORTED = 0, 3, 7
CLIENTS, CLIENT_PATIENCE_S = 12, 2


class Load:
    """Clients that write and never write a key again; what is not answered may be there or not."""

    def __init__(self, port):
        self.port, self.running, self.numbers = port, True, itertools.count()
        self.acknowledged, self.failed = set(), collections.Counter()
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while self.running:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CLIENT_PATIENCE_S)
            with contextlib.closing(connection):
                for _ in range(random.randint(1, 10)):
                    if not self.running or not self.write(connection, f"k{next(self.numbers)}"):
                        break
                    time.sleep(0.004)

    def write(self, connection, key):
        try:
            connection.request("POST", f"/{key}", b"x" * 50)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            status = 0
        if status == 201:
            self.acknowledged.add(key)
        else:
            self.failed[status] += 1
        return status == 201

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()


class Rounds:
    def __init__(self, project):
        self.project, self.side = project, "old"
        self.checkpoints = pathlib.Path(os.environ["BANYAN_CHECKPOINTS"])
        self.refused = pathlib.Path(os.environ["REFUSED_FILE"])

    def gateway_pid(self):
        return self.project.ask("status")["gateways"][1]["pid"]

    def is_at_rest(self):
        gateways = self.project.ask("status")["gateways"]
        return all(gateways) and {one["phase"] for one in gateways} == {"open"} and \
            len({one["epoch"] for one in gateways}) == 1

    def round(self, step, how):
        while (code := self.attempt(step, how)) == PRECONDITION:
            time.sleep(0.1)
        if code == OK:
            self.side = "new" if self.side == "old" else "old"
        when = f"{how.name} before {step}"
        assert code in (OK, ABORTED), f"{when}: {self.project.printed}"
        eventually(self.is_at_rest, f"{when}: both gateways open with the same routes")
        assert self.project.status()["serves"] == self.side, when
        assert not self.refused.exists(), f"{when}: {self.refused.read_text()}"
        print(f"  {when}: {'moved' if code == OK else 'rolled back'}, the {self.side} side serves", flush=True)
        return code

    def attempt(self, step, how):
        reached = self.checkpoints / f"conduct.{step}.reached"
        wanted = self.checkpoints / f"conduct.{step}"
        (self.checkpoints / "part").write_text("stop")
        (self.checkpoints / "part").rename(wanted)
        pid = self.gateway_pid()
        verb = "switch" if self.side == "old" else "reverse"
        act = subprocess.Popen([self.project.binary, "migrate", verb, "lift"], cwd=self.project.directory,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        eventually(lambda: reached.exists() or act.poll() is not None, step, pause_s=0.002)
        struck = reached.exists()
        if struck:
            os.kill(pid, how)
        reached.unlink(missing_ok=True)
        wanted.unlink(missing_ok=True)
        self.project.printed = act.communicate(timeout=120)[0]
        if how == signal.SIGSTOP and struck:
            os.kill(pid, signal.SIGCONT)
        assert struck or act.returncode == PRECONDITION, self.project.printed
        return act.returncode


def rows(project, side):
    server = project.new if side == "new" else project.old
    return collections.Counter(server.value("select coalesce(string_agg(key, ' '), '') from ledger", "shop").split())


def run(project):
    project.get("/warm")
    for words in (("migrate", "create", "lift"), ("migrate", "verify", "lift")):
        eventually(lambda words=words: project.banyan(*words) == 0, words)
    load, rounds = Load(project.gateway_port), Rounds(project)
    try:
        for step, how in ROUNDS:
            code = rounds.round(step, how)
            if how == signal.SIGSTOP:
                before_the_commit = step in ("hold", "commit-hold")
                assert code == (ABORTED if before_the_commit else OK), project.printed
    finally:
        load.stop()
    found = rows(project, rounds.side)
    lost = [key for key in load.acknowledged if key not in found]
    double = [key for key, times in found.items() if times > 1]
    print(f"  {len(load.acknowledged)} acknowledged writes; not acknowledged: {dict(load.failed)}")
    assert not lost and not double, (lost[:5], double[:5])
    assert len(load.acknowledged) > 500 and 500 not in load.failed, load.failed


def main():
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="banyan-several-")))
        os.environ["BANYAN_CHECKPOINTS"], os.environ["REFUSED_FILE"] = str(scratch), str(scratch / "refused")
        project = stack.enter_context(Project(os.path.abspath(sys.argv[1]), gateway=", instances: 2",
                                              seed="create table ledger(id serial primary key, key text not null)",
                                              app=HERE / "writing_app.py"))
        run(project)


main()
