#!/usr/bin/python3
"""The demo of Banyan: moves a live monolith to a scalable home and back, under load, and proves that nothing was lost.

Run by `./dev demo`. Each step calls the verbs of the banyan binary as an operator would type them.
"""
import argparse
import asyncio
import collections
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "lib")]
import demo_report  # noqa: E402
import demo_world as world_module  # noqa: E402
from demo_world import DemoError, World, wait_until  # noqa: E402

Size = collections.namedtuple("Size", "documents people users rate settle_s")
SIZES = {"normal": Size(400, 200, 50, 20, 4), "small": Size(120, 60, 20, 8, 1)}
COMMAND_S = 120  # no verb of the demo may take longer
ABORTED, NOT_READY = 7, 3
KILL_WINDOW_S = 3


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""


# ---- what a person sees --------------------------------------------------------------------------

class Screen:
    def __init__(self, automatic):
        self.automatic = automatic
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def bold(self, text):
        return f"\033[1m{text}\033[0m" if self.colour else text

    def dim(self, text):
        return f"\033[2m{text}\033[0m" if self.colour else text

    def say(self, text=""):
        print(text, flush=True)

    def step(self, number, count, title, sentence):
        self.say()
        self.say(self.bold(f"[{number}/{count}] {title}"))
        self.say(f"      {sentence}")
        if not self.automatic:
            print("      Enter to go on ", end="", flush=True)
            if not sys.stdin.readline():
                raise Stopped


# ---- the load ------------------------------------------------------------------------------------

class Load:
    """The users: a process of their own from step 2 to the end."""

    def __init__(self, world):
        self.ledger, self.summary = world.directory / "ledger.jsonl", world.directory / "load.json"
        self.process = world.spawn("load", [
            "/usr/bin/python3", str(ROOT / "tests" / "lib" / "load.py"), "--url", world.gateway_url(),
            "--host", world_module.HOST, "--users", str(world.size.users), "--rate", str(world.size.rate),
            "--ledger", str(self.ledger), "--summary", str(self.summary)])

    def figures(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.summary.read_text())
        return {}

    def line(self):
        now = self.figures()
        if not now:
            return "load: starting"
        return (f"load: {now['requests']} requests, {now['failed_requests']} failed, "
                f"{now['logged_out_users']} logged out, {now['acknowledged_writes']} uploads acknowledged, "
                f"longest wait {now['longest_wait_ms'] / 1000:.2f} s")

    def check_alive(self):
        if self.process.poll() is not None:
            raise DemoError("the load ended by itself; see its log")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)
        return self.figures()


# ---- banyan's verbs ------------------------------------------------------------------------------

class Cli:
    def __init__(self, binary, world, screen):
        self.binary, self.world, self.screen = binary, world, screen
        self.transcript = []

    def run(self, *words, accept=(0,)):
        """Runs a verb, shows what it prints, and returns its exit code."""
        line = "$ banyan " + " ".join(words)
        self.screen.say("  " + self.screen.bold(line))
        output = []
        process = subprocess.Popen([self.binary, *words], cwd=self.world.directory, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        reader = threading.Thread(target=self.show, args=(process.stdout, output), daemon=True)
        reader.start()
        try:
            code = process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError(f"`{line[2:]}` did not end within {COMMAND_S} s") from None
        reader.join(2)  # a daemon that kept the pipe open must not hold us
        self.transcript.append({"command": line[2:], "exit": code, "output": output})
        if code not in accept:
            raise DemoError(f"`{line[2:]}` ended with exit code {code}")
        return code

    def show(self, pipe, output):
        for text in pipe:
            output.append(text.rstrip())
            self.screen.say("    " + text.rstrip())

    def ask(self, *words):
        """The answer of a verb as data."""
        done = subprocess.run([self.binary, *words, "--json"], cwd=self.world.directory, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=COMMAND_S, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise DemoError(f"`banyan {' '.join(words)} --json` printed no JSON: "
                            f"{(done.stdout + done.stderr).strip()[-500:]}") from None

    def insist(self, *words, tries=5):
        """A verb that may refuse or roll back because of the moment; an operator simply asks again."""
        for attempt in range(1, tries + 1):
            accept = (0, ABORTED, NOT_READY) if attempt < tries else (0,)
            if self.run(*words, accept=accept) == 0:
                return attempt
            time.sleep(2)
        return tries


def values_of(data, key):
    """Every value that `key` has anywhere in nested data."""
    if isinstance(data, dict):
        found = [data[key]] if key in data else []
        return found + [value for part in data.values() for value in values_of(part, key)]
    if isinstance(data, list):
        return [value for part in data for value in values_of(part, key)]
    return []


def instances_of(data):
    if isinstance(data, dict) and {"zone", "pid", "state"} <= data.keys():
        return [data]
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else []
    return [instance for part in parts for instance in instances_of(part)]


# ---- the nine steps ------------------------------------------------------------------------------

class Demo:
    def __init__(self, options, screen):
        self.options, self.screen = options, screen
        self.world = World(options.dir, SIZES[options.size])
        self.cli = Cli(options.banyan, self.world, screen)
        self.load = None
        self.killed_at = None
        self.figures = {"size": options.size, "started_at": time.time(), "steps": []}

    STEPS = [
        ("old", "Start OLD", "The Eaglebox monolith as it runs today: one gunicorn, one PostgreSQL, files in a "
         "directory, sessions in the database; filled with documents and users."),
        ("load", "Put the gateway in front and start the users", "From now on users browse, search, upload, download "
         "and log in through the gateway, until the end; a ledger records every write they were told is saved."),
        ("apply", "Build the new home", "assess looks for what would stop a move, plan says what is missing, apply "
         "starts three instances in three zones; nothing serves from them yet."),
        ("create", "Copy and follow", "The database, the files and the sessions are copied while everybody works, and "
         "every change made since is followed."),
        ("verify", "Compare both sides", "Every row, file and session is compared between old and new."),
        ("switch", "Switch", "The cutover: requests are held for a moment, the old database is fenced, and the new "
         "side answers. Nobody sees an error."),
        ("reverse", "Go back, and switch again", "The same act backwards keeps everything written since; then forward "
         "again."),
        ("kill", "Kill a zone", "Every process of zone b is killed at once; the other zones serve and the instances "
         "come back."),
        ("check", "Check the ledger", "The users stop, and every write they were told is saved is looked for in the "
         "database and in the bucket: once, with its exact content."),
    ]

    def run(self):
        for number, (name, title, sentence) in enumerate(self.STEPS, 1):
            self.screen.step(number, len(self.STEPS), title, sentence)
            begin = time.monotonic()
            getattr(self, f"step_{name}")()
            seconds = time.monotonic() - begin
            self.figures["steps"].append(
                {"name": name, "title": title, "sentence": sentence, "seconds": round(seconds, 2)})
            self.screen.say(f"  done in {seconds:.1f} s" + (f"; {self.load.line()}" if self.load else ""))
            self.settle()

    def settle(self):
        """Lets the users work on the state a step left."""
        if self.load and self.load.process.poll() is None:
            time.sleep(self.world.size.settle_s)

    def step_old(self):
        self.screen.say(f"  {self.world.start_old()}; Eaglebox answers at http://127.0.0.1:{self.world.old_port}")
        self.world.start_new()
        self.world.write_spec()
        self.screen.say(f"  an empty PostgreSQL and a Redis wait; the move is described in {self.world.spec}")
        self.cli.run("validate")

    def step_load(self):
        self.cli.run("up", "--detach")
        wait_until(lambda: world_module.answers_http(self.world.gateway_url() + "/healthz"), "the gateway")
        self.screen.say(f"  the gateway listens at {self.world.gateway_url()} (Host: {world_module.HOST})")
        self.load = Load(self.world)
        wait_until(lambda: self.load.check_alive() or self.load.figures().get("acknowledged_writes", 0) > 0,
                   "the first acknowledged upload")

    def step_apply(self):
        self.cli.run("assess", accept=(0, 2, 3))
        self.cli.run("plan", accept=(0, 2))
        self.cli.run("apply")
        self.wait_ready()
        self.cli.run("ps")

    def step_create(self):
        self.cli.run("migrate", "create", "lift")
        self.cli.run("migrate", "status", "lift")

    def step_verify(self):
        self.cli.insist("migrate", "verify", "lift")
        self.note_compared()

    def step_switch(self):
        self.figures["switch_attempts"] = self.cli.insist("migrate", "switch", "lift")
        self.cli.run("status")

    def step_reverse(self):
        self.figures["reverse_attempts"] = self.cli.insist("migrate", "reverse", "lift")
        self.screen.say(f"  {self.load.line()}")
        self.settle()
        self.figures["switch_again_attempts"] = self.cli.insist("migrate", "switch", "lift")

    def step_kill(self):
        before = self.instances()
        victims = [instance for instance in before if instance["zone"] == "b" and instance["pid"]]
        if not victims:
            raise DemoError("zone b has no instance to kill")
        self.killed_at = time.time()
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(victim["pid"], signal.SIGKILL)
        self.screen.say(f"  killed every process of zone b ({len(victims)} instance); {len(before)} were ready")
        pids = {victim["pid"] for victim in victims}
        wait_until(lambda: not pids & {instance["pid"] for instance in self.instances()}, "the loss to be noticed")
        self.wait_ready()
        self.figures["zone_back_s"] = round(time.time() - self.killed_at, 1)
        self.screen.say(f"  all instances ready again after {self.figures['zone_back_s']} s")
        self.cli.run("ps")

    def step_check(self):
        self.note_banyan()
        self.figures.update(self.load.stop())
        verdict = asyncio.run(self.check_ledger())
        self.figures.update(verdict.as_json())
        self.judge()

    # -- what the steps share

    def instances(self):
        return instances_of(self.cli.ask("ps"))

    def wait_ready(self):
        def ready():
            instances = self.instances()
            zones = {instance["zone"] for instance in instances if instance["state"] == "ready"}
            return len(zones) == len(world_module.ZONES) and all(i["state"] == "ready" for i in instances)

        wait_until(ready, "an instance to be ready in every zone")

    def note_compared(self):
        seen = self.cli.ask("migrate", "status", "lift")
        for name in ("rows_compared", "files_compared", "sessions_compared"):
            self.figures[name] = max([value for value in values_of(seen, name) if isinstance(value, int)], default=0)

    def note_banyan(self):
        """The figures only the gateway knows, and the state everything ended in."""
        status = self.cli.ask("status")
        self.figures["held_requests"] = max(values_of(status, "held_total"), default=0)
        acts = self.cli.ask("migrate", "report", "lift")  # the gateway's status tells of the last hold only
        self.figures["longest_hold_ms"] = max(values_of([acts, status], "longest_hold_ms"), default=0)
        self.figures["final_status"] = status
        self.figures["migration"] = self.cli.ask("migrate", "report", "lift")
        self.figures["adoption_compared"] = (self.figures["migration"].get("adoption") or {}).get("equal", 0)

    async def check_ledger(self):
        import ledger
        from eaglebox_client import Browser, open_http

        names = await asyncio.to_thread(lambda: [item.key for item in self.world.bucket().objects.all()])
        async with open_http() as http:
            browser = Browser(http, self.world.gateway_url(), world_module.HOST, lambda *_: None)
            if not await browser.log_in("user000", "eaglebox"):
                raise DemoError("the checker could not log in")

            async def fetch(pk):
                answer = await browser.request("check", "GET", f"/documents/{pk}/download")
                if answer.status != 200:
                    raise DemoError(f"document {pk}: {answer.status or answer.error}")
                return answer.body

            return await ledger.check(self.load.ledger, self.world.new.url(), fetch, names)

    def judge(self):
        """Sorts the failures, and says what is wrong with this run, if anything."""
        figures = self.figures
        failures = figures.get("failures", [])
        interrupted = [failure for failure in failures if self.was_interrupted(failure)]
        figures["interrupted_requests"] = len(interrupted)
        figures["failures"] = [failure for failure in failures if failure not in interrupted]
        figures["failed_requests"] -= len(interrupted)
        wrong = [f"{figures[name]} {words}" for name, words in BAD_FIGURES.items() if figures.get(name)]
        wrong += [f"no {words} compared" for name, words in GOOD_FIGURES.items() if not figures.get(name)]
        figures["problems"] = wrong
        figures["ok"] = not wrong

    def was_interrupted(self, failure):
        """A write that was running inside a process when it was killed has no answer, and an answer that was under way
        breaks off. Repeating them is the client's decision, not a gateway's; the load repeats writes with their key."""
        if self.killed_at is None or not 0 <= failure["at"] - self.killed_at <= KILL_WINDOW_S:
            return False
        write = failure.get("method") == "POST" and failure.get("status") == 502
        return write or "ClientPayloadError" in failure["what"]


BAD_FIGURES = {"lost_writes": "acknowledged writes lost", "duplicated_writes": "writes duplicated",
               "unsent_writes": "rows or files nobody sent", "failed_requests": "requests failed",
               "logged_out_users": "users logged out"}
GOOD_FIGURES = {"requests": "requests were", "acknowledged_writes": "acknowledged writes were",
                "rows_compared": "rows were", "files_compared": "files were",
                "adoption_compared": "requests through the gateway were"}


# ---- running it ----------------------------------------------------------------------------------

@contextlib.contextmanager
def only_one(directory):
    """One demo in a directory at a time; the lock file names its process."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{directory}.lock", "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"a demo is running in {directory}; end it with: ./dev demo stop") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def stop(directory):
    """Ends a running demo, or cleans up after one that died."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pathlib.Path(f"{directory}.lock").read_text())
        if b"demo.py" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the running demo to end")
    world_module.clean(directory)
    pathlib.Path(f"{directory}.lock").unlink(missing_ok=True)
    print(f"demo stopped; {directory} is gone")


def keep_logs(demo, report):
    """After a failure: everything the processes wrote."""
    for name, source in {"demo": demo.world.logs, "banyan": demo.world.directory / ".banyan" / "log",
                         "instances": demo.world.directory / ".banyan" / "agent" / "logs"}.items():
        if source.is_dir():
            shutil.copytree(source, report / "logs" / name, dirs_exist_ok=True)
    for path in (demo.world.directory / "ledger.jsonl", demo.world.directory / "load.json"):
        if path.is_file():
            shutil.copy(path, report / "logs")


def report_and_exit_code(demo, report, screen, problem):
    demo.figures["seconds"] = round(time.time() - demo.figures["started_at"], 1)
    demo.figures["transcript"] = demo.cli.transcript
    if problem:
        demo.figures.setdefault("problems", []).insert(0, problem)
        demo.figures["ok"] = False
    demo_report.write(report, demo.figures)
    if not demo.figures.get("ok"):
        (report / "logs").mkdir(exist_ok=True)
        keep_logs(demo, report)
    screen.say()
    screen.say(demo_report.summary(demo.figures))
    screen.say(f"report: {report / 'report.html'}  {report / 'report.json'}")
    return 0 if demo.figures.get("ok") else 1


def run(options, screen):
    """Runs the demo, writes the report, and leaves nothing running, however it ends."""
    demo = Demo(options, screen)
    options.report.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(options.report / "logs", ignore_errors=True)
    try:
        demo.world.create()
        problem = attempt(demo)
        code = report_and_exit_code(demo, options.report, screen, problem)
        if not options.auto and code == 0:
            print("Everything still runs. Enter to stop it and clean up ", end="", flush=True)
            sys.stdin.readline()
        return code
    except Stopped:
        screen.say("\nstopping and cleaning up")
        return 130
    finally:
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, signal.SIG_IGN)
        world_module.clean(demo.world.directory)


def attempt(demo):
    """What went wrong, or None."""
    try:
        demo.run()
        return None
    except DemoError as error:
        problem = str(error)
    except Exception as error:  # a fault of the demo itself still gets a report
        problem = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    if demo.load:
        demo.figures.update(demo.load.figures())
    return problem


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["run", "stop"], default="run")
    parser.add_argument("--auto", action="store_true", help="do not wait for Enter between the steps")
    parser.add_argument("--size", choices=SIZES, default=os.environ.get("BANYAN_DEMO_SIZE", "normal"))
    parser.add_argument("--dir", type=pathlib.Path, default=world_module.default_directory(),
                        help="private directory of the demo's data (default: %(default)s)")
    parser.add_argument("--report", type=pathlib.Path, help="where report.html and report.json go")
    parser.add_argument("--banyan", default=str(ROOT / "build" / "release" / "banyan"), help="the binary")
    options = parser.parse_args(arguments)
    options.dir = options.dir.absolute()
    options.report = (options.report or pathlib.Path(f"{options.dir}-report")).absolute()
    options.banyan = os.path.abspath(options.banyan)
    return options


def stopped(*_):
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)  # once is enough; cleaning up must not be interrupted
    raise Stopped


def main():
    options = parse(sys.argv[1:])
    try:
        if options.what == "stop":
            stop(options.dir)
            return 0
        signal.signal(signal.SIGTERM, stopped)
        signal.signal(signal.SIGINT, stopped)
        with only_one(options.dir):
            return run(options, Screen(options.auto))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
