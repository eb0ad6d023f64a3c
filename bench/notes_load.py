#!/usr/bin/python3
"""Open-loop load on the Notes application: a request never waits for the answer of the one before.

  notes_load.py --url URL --rate N --summary FILE      (until SIGTERM)

Seven of ten requests read a note, one lists, two write. The summary names every acknowledged write; nothing is ever sent
twice, so a failure is a failure and a second row with the same key a duplicate.
"""
import argparse
import asyncio
import json
import os
import random
import signal
import time
import uuid

import aiohttp

OUTSTANDING_MAX = 4000
DRAIN_S = 30


class Load:
    def __init__(self, options):
        self.options, self.stop = options, asyncio.Event()
        self.run, self.count = uuid.uuid4().hex[:8], 0
        self.waits_ms, self.failures, self.ids, self.acknowledged = [], [], [], []
        self.sent = self.skipped = 0

    async def main(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sig, self.stop.set)
        tasks = set()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        async with aiohttp.ClientSession(connector=connector, headers={"Host": "notes.example"},
                                         timeout=aiohttp.ClientTimeout(total=40)) as self.http:
            await self.arrive(tasks)
            if tasks:
                await asyncio.wait(tasks, timeout=DRAIN_S)
        self.write_summary()

    async def arrive(self, tasks):
        chance, due = random.Random(1), time.monotonic()
        while not self.stop.is_set():
            due += chance.expovariate(self.options.rate)
            await asyncio.sleep(max(0, due - time.monotonic()))
            if len(tasks) >= OUTSTANDING_MAX:
                self.skipped += 1
                continue
            task = asyncio.create_task(self.one(chance.random(), due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def one(self, kind, due):
        if kind < 0.2 or not self.ids:
            await self.write(due)
        elif kind < 0.3:
            await self.request("GET", "/notes", due)
        else:
            await self.request("GET", f"/notes/{self.ids[hash(kind) % len(self.ids)]}", due)

    async def write(self, due):
        self.count += 1
        key = f"{self.run}-{self.count:07}"
        made = await self.request("POST", f"/notes?key={key}", due, data=f"note {key} " + "x" * 400)
        if made is not None:
            self.acknowledged.append(key)
            self.ids.append(int(made))

    async def request(self, method, path, due, data=None):
        """The body of a good answer, else None. The wait counts from when the request was due."""
        self.sent += 1
        try:
            async with self.http.request(method, self.options.url + path, data=data) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            self.failures.append(f"{method} {path}: {type(error).__name__}: {error}")
            return None
        self.waits_ms.append((time.monotonic() - due) * 1000)
        if answer.status in (200, 201):
            return body
        self.failures.append(f"{method} {path}: {answer.status} {body[:80]!r}")
        return None

    def write_summary(self):
        ordered = sorted(self.waits_ms) or [0]
        figures = {"requests": self.sent, "failed_requests": len(self.failures), "failures": self.failures[:20],
                   "arrivals_skipped": self.skipped, "acknowledged": self.acknowledged,
                   "p50_ms": ordered[len(ordered) // 2], "p99_ms": ordered[int(len(ordered) * 0.99)],
                   "longest_wait_ms": ordered[-1]}
        with open(self.options.summary + ".part", "w", encoding="utf-8") as file:
            json.dump(figures, file)
        os.replace(self.options.summary + ".part", self.options.summary)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--summary", required=True)
    options = parser.parse_args()

    async def run():
        await Load(options).main()

    asyncio.run(run())


if __name__ == "__main__":
    main()
