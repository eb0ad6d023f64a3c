#!/usr/bin/python3
"""The hold of the cutover: switch-and-reverse cycles of a monolith under open-loop load.

  switch.py BANYAN [--application notes|eaglebox] [--cycles 20] [--rate 300]

Notes is light (plain WSGI, one table), so that two cores can serve hundreds of requests a second beside the load; Eaglebox
is the Django application of the demo, with files and sessions: it needs a low --rate here. Prints, over all acts: how long requests were held (door closed to released), how long the drain took, the longest wait
of a single request as the gateway measured it, and how many requests failed. The ledger of the load is checked at the
end: figures of a run that lost a write are not printed.
"""
import argparse
import asyncio
import collections
import datetime
import os
import pathlib
import statistics
import subprocess
import json
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "lib"), str(ROOT / "bench")]
import demo  # noqa: E402
import demo_world  # noqa: E402
import notes_app  # noqa: E402

Size = collections.namedtuple("Size", "documents people users rate settle_s")


class Quiet:
    def say(self, text=""):
        pass

    def bold(self, text):
        return text


def at(event):
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp() * 1000


def figures_of(events):
    """{hold_ms, drain_ms} of one act, from its journal."""
    first = {}
    for event in events:
        first.setdefault((event["step"], event["kind"] == "intent"), at(event))
    return {"hold_ms": first["release", False] - first["hold", True],
            "drain_ms": first["commit-hold", True] - first["hold", False]}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Eaglebox:
    """The monolith of the demo: database, files and sessions move."""

    def __init__(self, directory, options):
        self.world = demo_world.World(directory, Size(300, 200, options.users, options.rate, 0))

    def start_load(self):
        self.load = demo.Load(self.world)

    def stop_load(self):
        """The load's figures, and the verdict of its ledger."""
        figures = self.load.stop()
        runner = demo.Demo.__new__(demo.Demo)
        runner.world, runner.load = self.world, self.load
        return figures, asyncio.run(runner.check_ledger()).as_json()


class Notes:
    """The light monolith: only the database moves."""

    def __init__(self, directory, options):
        self.world, self.rate = NotesWorld(directory, None), options.rate

    def start_load(self):
        self.summary = self.world.directory / "load.json"
        self.process = self.world.spawn("load", [
            demo_world.PYTHON, str(ROOT / "bench" / "notes_load.py"), "--url", self.world.gateway_url(), "--rate",
            str(self.rate), "--summary", str(self.summary)])

    def stop_load(self):
        self.process.terminate()
        self.process.wait(120)
        figures = json.loads(self.summary.read_text())
        acknowledged = figures.pop("acknowledged")
        figures |= {"acknowledged_writes": len(acknowledged), "logged_out_users": 0}
        return figures, self.verdict(acknowledged)

    def verdict(self, acknowledged):
        import psycopg2

        with psycopg2.connect(self.world.new.url()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT key, count(*) FROM notes GROUP BY key")
            stored = dict(cursor.fetchall())
        connection.close()
        return {"lost_writes": sum(key not in stored for key in acknowledged),
                "duplicated_writes": sum(count > 1 for count in stored.values())}


class NotesWorld(demo_world.World):
    def old_environment(self):
        return {"DATABASE_URL": self.old.url()}

    def start_old(self):
        import psycopg2

        self.old = demo_world.Postgres(self, "old")
        self.old.start()
        with psycopg2.connect(self.old.url()) as connection, connection.cursor() as cursor:
            cursor.execute(notes_app.SCHEMA)
            cursor.execute("INSERT INTO notes (key, body) SELECT 'seed-' || n, repeat('y', 400) FROM generate_series(1, 20000) n")
        connection.close()
        self.spawn("old-gunicorn", [*GUNICORN, "-b", f"127.0.0.1:{self.old_port}"], cwd=ROOT / "bench",
                   env=self.old_environment())
        demo_world.wait_until(lambda: demo_world.answers_http(f"http://127.0.0.1:{self.old_port}/healthz"), "Notes")

    def start_new(self):
        self.new = demo_world.Postgres(self, "new")
        self.new.start()

    def write_spec(self):
        self.spec.write_text(NOTES_SPEC.format(
            world=self, bench=ROOT / "bench", gunicorn=" ".join(GUNICORN),
            zones="\n".join(f"  {name}: {{ address_base: {base} }}" for name, base in demo_world.ZONES.items())))
        for name, url in {"old_database_url": self.old.url(), "new_database_url": self.new.url()}.items():
            (self.directory / "secrets" / name).write_text(url + "\n")
            (self.directory / "secrets" / name).chmod(0o600)


GUNICORN = ["gunicorn", "notes_app:application", "-w", "1", "-k", "gthread", "--threads", "12", "--keep-alive", "75"]
NOTES_SPEC = """\
banyan: 1
name: notes
source:
  app: {{ listen: 127.0.0.1:{world.old_port} }}
  database: {{ url: {{ file: secrets/old_database_url }} }}
gateway: {{ listen: [ 127.0.0.1:{world.gateway_port} ] }}
zones:
{zones}
services:
  web:
    command: "{gunicorn} -b ${{HOST}}:${{PORT}}"
    cwd: {bench}
    health: {{ path: /healthz }}
    instances: {{ min: 3, max: 3, min_per_zone: 1 }}
    bind: {{ DATABASE_URL: database.main }}
databases: {{ main: {{ url: {{ file: secrets/new_database_url }} }} }}
routes: [ {{ match: /*, to: web, default: source }} ]
migrations:
  lift: {{ move: {{ database: all, routes: all }} }}
"""


class Bench:
    def __init__(self, options):
        self.options = options
        directory = tempfile.mkdtemp(prefix="banyan-bench-")
        os.rmdir(directory)
        self.application = {"notes": Notes, "eaglebox": Eaglebox}[options.application](directory, options)
        self.world = self.application.world
        self.cli = demo.Cli(options.banyan, self.world, Quiet())
        self.acts, self.aborted = [], 0

    def begin(self):
        self.world.create()
        self.world.start_old()
        self.world.start_new()
        self.world.write_spec()
        self.cli.run("up", "--detach")
        demo_world.wait_until(lambda: demo_world.answers_http(self.world.gateway_url() + "/healthz"), "the gateway")
        self.cli.run("apply")
        self.cli.run("migrate", "create", "lift")
        self.application.start_load()
        self.cli.insist("migrate", "verify", "lift", tries=20)

    def act(self, verb):
        """One act, after a rest under load; an aborted one is counted and tried again."""
        time.sleep(self.options.rest)
        while True:
            done = subprocess.run([self.options.banyan, "migrate", verb, "lift", "--json"], cwd=self.world.directory,
                                  capture_output=True, text=True, check=False)
            answer = json.loads(done.stdout)
            if done.returncode == 0:
                self.acts.append({**figures_of(answer["events"]), **answer["hold"]})
                return
            self.aborted += done.returncode == demo.ABORTED

    def run(self):
        try:
            self.begin()
            for _ in range(self.options.cycles):
                self.act("switch")
                self.act("reverse")
            self.act("switch")
            self.print(*self.application.stop_load())
        finally:
            demo_world.clean(self.world.directory)

    def print(self, load, verdict):
        if verdict["lost_writes"] or verdict["duplicated_writes"]:
            raise SystemExit(f"switch: a write was lost or duplicated: {verdict}")
        print(f"{len(self.acts)} acts, {self.aborted} aborted and tried again, {self.options.rate:.0f} a second asked for; "
              f"{load['requests']} requests, {load['failed_requests']} failed, {load['acknowledged_writes']} writes "
              f"acknowledged, 0 lost, 0 duplicated, {load['logged_out_users']} logged out")
        for failure in load.get("failures", [])[:5]:
            print(f"  failed: {failure}")
        print(f"all requests: p50 {load['p50_ms']:.1f} ms, p99 {load['p99_ms']:.0f} ms, longest {load['longest_wait_ms']:.0f} ms")
        print("| ms | p50 | p99 | longest |\n| --- | --- | --- | --- |")
        for name, title in (("hold_ms", "door closed to released"), ("drain_ms", "drain of what was inside"),
                            ("longest_hold_ms", "longest wait of a held request, per act")):
            values = [act[name] for act in self.acts]
            print(f"| {title} | {statistics.median(values):.0f} | {percentile(values, 0.99):.0f} | {max(values):.0f} |")
        print(f"held requests per act: median {statistics.median(a['held'] for a in self.acts):.0f}, "
              f"most {max(a['held'] for a in self.acts)}; refused {sum(a['refused'] for a in self.acts)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banyan", type=os.path.abspath)
    parser.add_argument("--application", choices=("notes", "eaglebox"), default="notes")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--rest", type=float, default=1, help="seconds of undisturbed load before each act")
    parser.add_argument("--users", type=int, default=50)
    Bench(parser.parse_args()).run()


if __name__ == "__main__":
    main()
