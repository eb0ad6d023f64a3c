#!/usr/bin/python3
"""CPU time and wall time of moving a PostgreSQL database, beside pgcopydb and native logical replication.

    bench/replication.py BANYAN [--scale N] [--rounds N] [--transactions N] [--rate N] [--only apply] [--plots FOLDER]
                         [--appliers 1,2,4] [--workload wide]

Two real servers, `pgbench -i -s N` on the source. In each round every tool gets a fresh copy of that database and an
empty one on the target, in rotating order, and ratios are taken within the round. One copy before the first round is
not counted: the servers make the files of their log then and use them again afterwards (it took up to 1.6 times the
CPU, whichever tool came first).

    copy   Banyan from start to following; `pgcopydb clone` as it comes, and with its large tables split between its
           jobs; pg_dump -s and CREATE SUBSCRIPTION until every table is ready
    apply  the tool is stopped, pgbench leaves a backlog of TPC-B transactions, and the time until the last of them is
           on the target is measured from the moment the tool is started again (pgcopydb clone has no such part)
           --appliers 1,2,4 does this with each number of sessions; --workload wide with updates of scattered rows of
           600 bytes with two further indexes, instead of TPC-B
    lag    pgbench commits at a fixed rate; a probe row every 20 ms measures the time from its commit on the source
           until it is seen on the target, looked for every millisecond

CPU is user + system time of every process of the source server, of the target server (both with the backends that
have ended) and of the tool. The load generator works before the measurement and counts nowhere.
"""
import argparse
import contextlib
import dataclasses
import functools
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "lib"))
from cluster import Banyan, Postgres, eventually  # noqa: E402

SETTINGS = {
    "shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "autovacuum": "off",
    "maintenance_work_mem": "256MB", "full_page_writes": "on",
    "wal_retrieve_retry_interval": "100ms",  # else a native subscription rests 5 s before it starts again
}
JOBS = 2
SPLIT = "100MB"  # from this size on both jobs of pgcopydb work on one table, as those of Banyan do
PATIENCE_S = 1800
POLL_S = 0.1
TICKS = os.sysconf("SC_CLK_TCK")
CONTENTS = """select (select count(*) from pgbench_history), (select sum(delta) from pgbench_history),
  (select count(*) from pgbench_accounts), (select sum(abalance) from pgbench_accounts),
  (select sum(tbalance) from pgbench_tellers), (select sum(bbalance) from pgbench_branches),
  (select sum(hashtext(w::text)) from bench_wide w)"""
WIDE = """create table bench_wide(id bigint primary key, a int, b text, c timestamptz, d numeric, e text);
insert into bench_wide select g, g, md5(g::text), now(), g * 1.25, repeat(md5(g::text), 16)
  from generate_series(1, {rows}) g;
create index on bench_wide(a); create index on bench_wide(b)"""
WIDE_SCRIPT = """\\set one random(1, {rows})
\\set other random(1, {rows})
begin;
update bench_wide set a = a + 1, b = md5(a::text), d = d * 1.01, e = repeat(md5(b), 16) where id = :one;
update bench_wide set a = a + 1, b = md5(a::text), d = d * 1.01, e = repeat(md5(b), 16) where id = :other;
commit;
"""


def process_stat(pid):
    """(parent, seconds of the process and of its children that ended), or None when it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / TICKS


def tree_cpu(root):
    """Seconds of a process and everything below it, living or ended."""
    stats = {int(name): stat for name in os.listdir("/proc") if name.isdigit() and (stat := process_stat(name))}
    total, level = 0.0, [root]
    while level:
        total += sum(stats[pid][1] for pid in level if pid in stats)
        level = [pid for pid, (parent, _) in stats.items() if parent in level]
    return total


def commands_cpu():
    """Seconds of the commands that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclasses.dataclass
class Cost:
    wall: float
    source: float
    target: float
    tool: float

    @property
    def receiving(self):
        return self.target + self.tool

    @property
    def total(self):
        return self.source + self.target + self.tool


class Bench:
    def __init__(self, options):
        self.options = options
        self.banyan = os.path.abspath(options.banyan)
        self.lags = {}  # tool -> a list of (sorted milliseconds, TPS reached), one a round

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.source = self.stack.enter_context(Postgres(settings=SETTINGS))
        self.target = self.stack.enter_context(Postgres(settings=SETTINGS))
        os.environ["PATH"] = self.source.binaries + ":" + os.environ["PATH"]
        self.source.create_database("base")
        self.run("pgbench", "-i", "-q", "-s", str(self.options.scale), self.source.url("base"))
        self.source.run("create table bench_marker(id int primary key); create table bench_probe(id serial primary key)",
                        "base")
        rows = 300_000 if self.options.workload == "wide" else 1
        self.source.psql(WIDE.format(rows=rows), "base")
        self.script = self.stack.enter_context(tempfile.NamedTemporaryFile("w"))
        self.script.write(WIDE_SCRIPT.format(rows=rows))
        self.script.flush()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def run(self, *command, feed=None):
        done = subprocess.run(command, input=feed, text=True, capture_output=True, cwd="/tmp")
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    def fresh_databases(self):
        for server in (self.source, self.target):
            server.run("drop database if exists shop")
        self.source.run("create database shop template base strategy file_copy")
        self.target.create_database("shop")

    def measure(self, work):
        """What `work()` costs. It gives the role whose processes are the tool, or None when commands are."""
        for server in (self.source, self.target):
            server.run("checkpoint")
        time.sleep(0.3)
        before = tree_cpu(self.source.process.pid), tree_cpu(self.target.process.pid), commands_cpu()
        begun = time.monotonic()
        role = work()
        wall = time.monotonic() - begun
        tool = tree_cpu(role.process.pid) if role else commands_cpu() - before[2]
        return Cost(wall, tree_cpu(self.source.process.pid) - before[0],
                    tree_cpu(self.target.process.pid) - before[1], tool)

    def backlog(self):
        each = self.options.transactions // 4
        load = ["-f", self.script.name] if self.options.workload == "wide" else []
        self.run("pgbench", "-n", "-c", "4", "-j", "1", "-t", str(each), *load, self.source.url("shop"))
        self.source.run("insert into bench_marker values (1)", "shop")

    def wait_for_marker(self):
        session = self.target.connect("shop")
        try:
            with session.cursor() as cursor:
                def arrived():
                    cursor.execute("select 1 from bench_marker where id = 1")
                    return cursor.fetchone()
                eventually(arrived, "the end of the backlog", PATIENCE_S, POLL_S)
        finally:
            session.close()

    def assert_equal(self, tool):
        old, new = self.source.run(CONTENTS, "shop"), self.target.run(CONTENTS, "shop")
        assert old == new, f"{tool}: {old} became {new}"

    def lag(self):
        """Milliseconds from commit to visible, sorted; and the rate that pgbench reached."""
        self.source.run("truncate bench_probe", "shop")
        load = subprocess.Popen(["pgbench", "-n", "-c", "8", "-j", "1", "-R", str(self.options.rate), "-T",
                                 str(self.options.lag_seconds), self.source.url("shop")],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/tmp")
        here, there = self.source.connect("shop"), self.target.connect("shop")
        samples = []
        with here.cursor() as write, there.cursor() as read:
            while load.poll() is None:
                write.execute("insert into bench_probe default values returning id")
                number, = write.fetchone()
                begun = time.monotonic()
                while not (read.execute("select 1 from bench_probe where id = %s", (number,)) or read.fetchone()):
                    time.sleep(0.001)
                samples.append((time.monotonic() - begun) * 1000)
                time.sleep(0.02)
        here.close()
        there.close()
        reached = float(load.communicate()[0].split("tps = ")[1].split()[0])
        return sorted(samples), reached

    def banyan_round(self, name="Banyan", appliers=0):
        config = {"tables": "all", "jobs": JOBS, "appliers": appliers}
        with Banyan(self.banyan, "replicate") as role:
            role.stop()

            def copy():
                role.start()
                role.call("start", name="shop", config={
                    "source": self.source.url("shop"), "target": self.target.url("shop"), **config})
                eventually(lambda: self.is_following(role), "following", PATIENCE_S, POLL_S)
                return role

            def apply():
                role.start()
                role.call("start", name="shop", config={
                    "source": self.source.url("shop"), "target": self.target.url("shop"), **config})
                self.wait_for_marker()
                return role

            copied = self.measure(copy)
            role.stop()
            self.backlog()
            applied = self.measure(apply)
            self.assert_equal(name)
            self.note_lag(name)
            role.call("cancel", name="shop")
        return {"copy": copied, "apply": applied}

    def note_lag(self, name):
        if not self.options.rate:
            return
        samples, reached = self.lag()
        self.lags.setdefault(name, []).append((samples, reached))
        print(f"lag {name}: {len(samples)} probes, p50 {percentile(samples, 50):.1f} ms, p99 "
              f"{percentile(samples, 99):.1f} ms at {reached:.0f} TPS", file=sys.stderr, flush=True)

    @staticmethod
    def is_following(role):
        status = role.call("status", name="shop")
        assert status["state"] != "failed", status
        return status["state"] == "following"

    def pgcopydb_round(self, *options):
        directory = tempfile.mkdtemp(prefix="banyan-pgcopydb-")
        try:
            copied = self.measure(lambda: self.run(
                "pgcopydb", "clone", "--source", self.source.url("shop"), "--target", self.target.url("shop"),
                "--table-jobs", str(JOBS), "--index-jobs", str(JOBS), *options, "--dir", directory + "/work") and None)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        self.assert_equal("pgcopydb")
        return {"copy": copied}

    def split_round(self):
        return self.pgcopydb_round("--split-tables-larger-than", SPLIT)

    def warm_up(self):
        self.fresh_databases()
        self.pgcopydb_round()

    def native_round(self):
        self.source.run("create publication bench for all tables", "shop")

        def copy():
            schema = self.run("pg_dump", "-s", "--no-publications", self.source.url("shop"))
            self.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.target.url("shop"), feed=schema)
            self.target.run(f"create subscription bench connection '{self.source.url('shop')}' publication bench",
                            "shop")
            eventually(self.is_subscribed, "the subscription", PATIENCE_S, POLL_S)

        def apply():
            self.target.run("alter subscription bench enable", "shop")
            self.wait_for_marker()

        try:
            copied = self.measure(copy)
            self.target.run("alter subscription bench disable", "shop")
            self.wait_for_silence()
            self.backlog()
            applied = self.measure(apply)
            self.assert_equal("native")
            self.note_lag("native")
        finally:
            self.target.run("drop subscription if exists bench", "shop")
        return {"copy": copied, "apply": applied}

    def is_subscribed(self):
        return self.target.value("select bool_and(srsubstate = 'r') from pg_subscription_rel", "shop")

    def wait_for_silence(self):
        eventually(lambda: not self.source.value("select count(*) from pg_stat_replication"), "the subscriber's end")

    def round(self, number):
        tools = {"Banyan": self.banyan_round, "pgcopydb": self.pgcopydb_round, "pgcopydb split": self.split_round,
                 "native": self.native_round}
        if self.options.only == "apply":
            del tools["pgcopydb"], tools["pgcopydb split"]
        for count in self.options.appliers:
            tools[f"Banyan, appliers: {count}"] = functools.partial(self.banyan_round, f"Banyan, {count}", count)
        if self.options.appliers:
            del tools["Banyan"]
        turn = number % len(tools)
        costs = {}
        for name in [*tools][turn:] + [*tools][:turn]:
            self.fresh_databases()
            costs[name] = tools[name]()
            for part, cost in costs[name].items():
                print(f"round {number + 1}: {name} {part}: {cost.wall:.2f} s, CPU source {cost.source:.2f} "
                      f"target {cost.target:.2f} tool {cost.tool:.2f}", file=sys.stderr, flush=True)
        return costs


def percentile(samples, part):
    return samples[min(len(samples) - 1, len(samples) * part // 100)]


def lag_table(lags):
    lines = ["| tool | transactions/s reached | probes | lag p50 ms | p99 ms | longest ms |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, rounds in lags.items():
        cells = [statistics.median(of(*one) for one in rounds) for of in (
            lambda samples, reached: reached, lambda samples, reached: len(samples),
            lambda samples, reached: percentile(samples, 50), lambda samples, reached: percentile(samples, 99),
            lambda samples, reached: samples[-1])]
        lines.append(f"| {TITLES[name]} | {cells[0]:,.0f} | {cells[1]:.0f} | {cells[2]:.1f} | {cells[3]:.1f} | "
                     f"{cells[4]:.0f} |")
    return "\n".join(lines)


def plot(folder, rounds, amounts, lags):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 2 if lags else 1, figsize=(10, 3.6), squeeze=False)
    part = "apply"
    names = [name for name in TITLES if part in rounds[0].get(name, {})]
    rates = [[amounts[part][0] / max(costs[name][part].receiving, 0.01) for costs in rounds] for name in names]
    axes[0][0].bar(names, [statistics.median(rate) for rate in rates], color="#4477aa")
    for at, rate in enumerate(rates):
        axes[0][0].plot([at] * len(rate), rate, "k.")
    axes[0][0].set_title("TPC-B transactions applied per CPU second (target + tool)", fontsize=9)
    for name, each in lags.items():
        samples = sorted(sample for one, _ in each for sample in one)
        axes[0][1].plot(samples, [100 * at / len(samples) for at in range(len(samples))], label=name)
        axes[0][1].set_xscale("log")
        axes[0][1].set_title("lag in ms: share of probes below", fontsize=9)
        axes[0][1].legend()
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "replication.svg"))


def median(rounds, part, name, of):
    return statistics.median(of(costs[name][part]) for costs in rounds)


def ratio(rounds, part, name, of):
    """Banyan / the peer, each round for itself: median, and the spread when there is one."""
    each = sorted(of(costs["Banyan"][part]) / max(of(costs[name][part]), 0.01) for costs in rounds)
    spread = f" ({each[0]:.2f}-{each[-1]:.2f})" if len(each) > 1 else ""
    return f"{statistics.median(each):.2f}{spread}"


WALL, SOURCE, TARGET, TOOL, RECEIVING, TOTAL = (
    (lambda cost, field=field: getattr(cost, field))
    for field in ("wall", "source", "target", "tool", "receiving", "total"))
TITLES = {"Banyan": "Banyan", "pgcopydb": "`pgcopydb clone`",
          "pgcopydb split": f"`pgcopydb clone --split-tables-larger-than {SPLIT}`", "native": "native subscription"}


def table(rounds, amounts):
    lines = ["| work | tool | wall s | CPU s source | CPU s target | CPU s tool | per CPU s of target + tool | "
             "Banyan / it: wall | CPU target + tool | CPU of all |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for part, (amount, unit) in amounts.items():
        names = [*TITLES, *(name for name in rounds[0] if name not in TITLES)]
        for name in (name for name in names if part in rounds[0].get(name, {})):
            costs = " | ".join(f"{median(rounds, part, name, of):.2f}" for of in (WALL, SOURCE, TARGET, TOOL))
            rate = statistics.median(amount / max(costs[name][part].receiving, 0.01) for costs in rounds)
            ratios = " | ".join("" if "Banyan" not in rounds[0] or name == "Banyan" else ratio(rounds, part, name, of)
                                for of in (WALL, RECEIVING, TOTAL))
            lines.append(f"| {part} | {TITLES.get(name, name)} | {costs} | {rate:,.0f} {unit} | {ratios} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("banyan")
    parser.add_argument("--scale", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transactions", type=int, default=60_000)
    parser.add_argument("--rate", type=int, default=3000, help="of the lag's load; 0: not measured")
    parser.add_argument("--lag-seconds", type=int, default=20)
    parser.add_argument("--only", choices=["all", "apply"], default="all", help="apply: without pgcopydb")
    parser.add_argument("--appliers", type=lambda text: [int(word) for word in text.split(",")], default=[])
    parser.add_argument("--workload", choices=["tpcb", "wide"], default="tpcb")
    parser.add_argument("--plots", help="a folder for replication.svg")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with Bench(options) as bench:
        version = bench.source.value("show server_version").split()[0]
        bench.warm_up()
        rounds = [bench.round(number) for number in range(options.rounds)]
    print(f"{time.strftime('%Y-%m-%d')}, PostgreSQL {version}, pgbench scale {options.scale}, "
          f"{options.transactions // 4 * 4:,} {options.workload} transactions, {options.rounds} paired rounds, "
          f"{os.cpu_count()} cores, load average {load:.2f} before and {os.getloadavg()[0]:.2f} after\n")
    amounts = {"copy": (options.scale * 100_000, "rows"), "apply": (options.transactions // 4 * 4, "transactions")}
    print(table(rounds, amounts))
    if bench.lags:
        print(f"\nLag under {options.rate} transactions/s for {options.lag_seconds} s:\n\n{lag_table(bench.lags)}")
    if options.plots:
        plot(options.plots, rounds, amounts, bench.lags)


if __name__ == "__main__":
    main()
