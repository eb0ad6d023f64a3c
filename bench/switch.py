#!/usr/bin/python3
"""The hold of the cutover: switch-and-reverse cycles of the Eaglebox monolith under load.

  switch.py BANYAN [--cycles 20] [--rate 300] [--users 50]

Prints, over all acts: how long requests were held (door closed to released), how long the drain took, the longest wait
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "lib")]
import demo  # noqa: E402
import demo_world  # noqa: E402

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


class Bench:
    def __init__(self, options):
        self.options = options
        directory = tempfile.mkdtemp(prefix="banyan-bench-")
        os.rmdir(directory)
        self.world = demo_world.World(directory, Size(300, 200, options.users, options.rate, 0))
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
        self.load = demo.Load(self.world)
        self.cli.insist("migrate", "verify", "lift", tries=20)

    def act(self, verb):
        """One act; an aborted one is counted and tried again."""
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
            load = self.load.stop()
            runner = demo.Demo.__new__(demo.Demo)
            runner.world, runner.load = self.world, self.load
            verdict = asyncio.run(runner.check_ledger()).as_json()
            self.print(load, verdict)
        finally:
            demo_world.clean(self.world.directory)

    def print(self, load, verdict):
        if verdict["lost_writes"] or verdict["duplicated_writes"]:
            raise SystemExit(f"switch: a write was lost or duplicated: {verdict}")
        print(f"{len(self.acts)} acts, {self.aborted} aborted and tried again, {self.options.rate} actions/s asked for; "
              f"{load['requests']} requests, {load['failed_requests']} failed, {load['acknowledged_writes']} writes "
              f"acknowledged, 0 lost, 0 duplicated, {load['logged_out_users']} logged out")
        print("| ms | p50 | p99 | longest |\n| --- | --- | --- | --- |")
        for name, title in (("hold_ms", "door closed to released"), ("drain_ms", "drain of what was inside"),
                            ("longest_hold_ms", "longest wait of a held request, per act")):
            values = [act[name] for act in self.acts]
            print(f"| {title} | {statistics.median(values):.0f} | {percentile(values, 0.99):.0f} | {max(values):.0f} |")
        print(f"held requests per act: median {statistics.median(a['held'] for a in self.acts):.0f}, "
              f"most {max(a['held'] for a in self.acts)}; refused {sum(a['refused'] for a in self.acts)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banyan")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--users", type=int, default=50)
    Bench(parser.parse_args()).run()


if __name__ == "__main__":
    main()
