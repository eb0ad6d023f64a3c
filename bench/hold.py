#!/usr/bin/python3
"""What a hold costs the users: errors, duplicates, added waiting, and the rate behind the gateway afterwards.

    bench/hold.py BANYAN [--rate 2000] [--hold 2] [--rounds 3]

An open loop (a request is due whether or not earlier ones were answered) of 70 % tiny GET, 20 % GET of 4 KB and 10 %
POST of 10 KB, each with an id, through one gateway worker to nginx, which logs the ids. Half way the gateway is
closed, committed and opened again. nginx has one core with the load, the gateway the other.
"""
import argparse
import asyncio
import collections
import contextlib
import gc
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "lib"))
from cluster import eventually, free_port, rpc  # noqa: E402

UPSTREAM = """worker_processes 1; daemon off; master_process off; pid {dir}/up.pid; error_log {dir}/up.err crit;
events {{ worker_connections 16384; }}
http {{
  log_format ids "$msec $arg_id"; access_log {dir}/ids.log ids buffer=64k flush=1s;
  keepalive_requests 1000000000; keepalive_timeout 300s; client_body_buffer_size 64k;
  client_body_temp_path {dir}/u1; proxy_temp_path {dir}/u2; fastcgi_temp_path {dir}/u3; uwsgi_temp_path {dir}/u4;
  scgi_temp_path {dir}/u5;
  server {{ listen 127.0.0.1:{port} backlog=4096; location /tiny {{ return 200 "{tiny}"; }}
    location /10k {{ return 200 "{large}"; }} }}
}}"""
BEFORE_S, WINDOW_S = 6.0, 1.0
BODY = b"x" * 10_000


class Load:
    """Keep-alive connections, as many as it takes."""

    def __init__(self, port, rate, seconds):
        self.port, self.rate, self.seconds = port, rate, seconds
        self.free, self.done, self.errors = [], [], collections.Counter()

    @staticmethod
    def message(number):
        if number % 10 == 0:
            return b"POST /tiny?id=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" % number + BODY
        return b"GET /%s?id=%d HTTP/1.1\r\nHost: a\r\n\r\n" % (b"10k" if number % 10 in (3, 6) else b"tiny", number)

    async def exchange(self, number, due):
        try:
            reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(self.message(number))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            status = int(head[9:12])
            if status != 200:
                self.errors[status] += 1
            self.done.append((due, time.monotonic() - due))
            self.free.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.errors[type(error).__name__] += 1

    async def open_connections(self, count):
        """Beforehand: so many wait at the end of the hold."""
        for _ in range(count):
            self.free.append(await asyncio.open_connection("127.0.0.1", self.port))

    async def run(self):
        begin, tasks = time.monotonic(), set()
        for number in range(int(self.rate * self.seconds)):
            due = begin + number / self.rate
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self.exchange(number, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.wait(tasks)


@contextlib.contextmanager
def process(core, command):
    child = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


async def hold(socket, seconds, log):
    await asyncio.sleep(BEFORE_S)
    def order(verb, **body):
        return asyncio.to_thread(rpc, socket, verb, body)
    log["closed"], wall = time.monotonic(), time.time()
    await order("hold.close", epoch=1, routes=["*"], max_requests=100_000, max_bytes=1 << 30, max_ms=60_000)
    status = await order("hold.commit", epoch=1)
    log["drain_s"] = time.monotonic() - log["closed"]
    assert status["in_flight"] == 0, status
    await asyncio.sleep(max(0, seconds - log["drain_s"]))
    log["held"] = (await order("hold.open", epoch=1))["held"]
    log["opened"] = time.monotonic()
    log["wall"] = wall, time.time()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def busiest(times, begin):
    """Requests per second in the busiest window from `begin` on."""
    windows = collections.Counter(int((at - begin) / WINDOW_S) for at in times if at >= begin)
    return max(windows.values()) / WINDOW_S


def upstream_rates(path, closed, opened):
    """Requests per second behind the gateway: the mean before, the busiest window before and after; and how
    many ids came more than once."""
    lines = [line.split() for line in path.read_text().splitlines()]
    times = sorted(float(line[0]) for line in lines)
    before = [at for at in times if closed - 4 <= at < closed]
    ids = collections.Counter(line[1] for line in lines)
    twice = sum(count - 1 for count in ids.values())
    return len(before) / 4, busiest(before, closed - 4), busiest(times, opened), twice


def one_round(binary, options):
    with tempfile.TemporaryDirectory(prefix="banyan-hold-") as name:
        directory = pathlib.Path(name)
        os.chmod(directory, 0o755)
        up, port, socket = free_port(), free_port(), str(directory / "socket")
        config = directory / "up.conf"
        config.write_text(UPSTREAM.format(dir=directory, port=up, tiny="x" * 100, large="x" * 4000))
        gateway = [binary, "gateway", "--socket", socket, "--state-dir", str(directory), "--workers", "1"]
        last = (os.cpu_count() or 1) - 1
        with process(last, ["nginx", "-c", str(config)]), process(0, gateway):
            eventually(lambda: os.path.exists(socket), "the gateway")
            rpc(socket, "snapshot.put", {"snapshot": {
                "epoch": 1, "listen": [f"127.0.0.1:{port}"], "public_host": None, "access_log": str(directory / "log"),
                "backends": {"b": {"endpoints": [{"address": f"127.0.0.1:{up}", "zone": ""}]}},
                "routes": [{"id": "all", "methods": [], "path": "/*", "to": "b"}]}})
            tail = options.hold / (options.resume - 1)
            load, log = Load(port, options.rate, BEFORE_S + options.hold + tail + 2), {}

            async def both():
                await load.open_connections(int(options.rate * options.hold * 1.1))
                gc.disable()
                await asyncio.gather(load.run(), hold(socket, options.hold, log))
            asyncio.run(both())
            time.sleep(1.5)  # nginx's own log buffer
        before, busiest_before, busiest_after, twice = upstream_rates(directory / "ids.log", *log["wall"])
        waits = [took for due, took in load.done if log["closed"] <= due < log["opened"]]
        calm = [took for due, took in load.done if due < log["closed"] - 0.5]
        lasted = log["opened"] - log["closed"]
        return {"requests": len(load.done), "held": log["held"], "errors": sum(load.errors.values()),
                "duplicates": twice, "hold_ms": lasted * 1e3, "drain_ms": log["drain_s"] * 1e3,
                "p99_before_ms": percentile(calm, 0.99) * 1e3, "p99_held_ms": percentile(waits, 0.99) * 1e3,
                "longest_ms": max(waits) * 1e3, "rate_before": before, "busiest_before": busiest_before,
                "busiest_after": busiest_after, "overshoot": busiest_after / before}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("banyan")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--hold", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resume", type=float, default=1.15)
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    rounds = [one_round(os.path.abspath(options.banyan), options) for _ in range(options.rounds)]
    for found in rounds:
        print(json.dumps({key: round(value, 2) for key, value in found.items()}))
    middle = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
    print(f"\nMedian: {middle['errors']:.0f} errors, {middle['duplicates']:.0f} duplicates; a hold of "
          f"{middle['hold_ms']:.0f} ms added {middle['p99_held_ms'] - middle['hold_ms']:+.0f} ms at p99; overshoot "
          f"{middle['overshoot']:.2f}x of {middle['rate_before']:.0f} requests/s (busiest of {WINDOW_S:.0f} s).")


if __name__ == "__main__":
    main()
