#!/usr/bin/python3
"""Open-loop load on Eaglebox: N users who browse, search, upload, download and log in, at a rate that does not wait
for answers. Runs until SIGTERM or --seconds, then waits for what is still running and writes a summary.

  load.py --url http://127.0.0.1:8080 --ledger L.jsonl --summary S.json [--users 50] [--rate 25] [--seconds 10]
"""
import argparse
import asyncio
import collections
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from eaglebox_client import Browser, open_http  # noqa: E402
from ledger import Ledger  # noqa: E402

MIX = [("browse", 40), ("search", 20), ("download", 20), ("upload", 15), ("login", 5)]
WORDS = "agreement court notice breach clause damages settlement evidence witness filed".split()
TAGS = "lease merger patent custody tax urgent signed archive".split()
OUTSTANDING_MAX = 2000
DRAIN_S = 90
FAILURES_KEPT = 500
AGAIN_AFTER_S = 1.0
STORED_BEFORE = 409
LINK = re.compile(rb'href="/documents/(\d+)/download"')
BUCKETS_MS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000]


class Tally:
    """Every answer of the whole run, counted."""

    def __init__(self):
        self.requests = self.failed = self.logged_out = self.skipped = 0
        self.longest_ms = 0.0
        self.kinds = collections.Counter()
        self.histogram = [0] * (len(BUCKETS_MS) + 1)
        self.acknowledged = self.corrupt = 0
        self.failures = []
        self.recent = collections.deque(maxlen=200_000)

    def observe(self, kind, method, path, answer):
        self.requests += 1
        self.kinds[kind] += 1
        self.longest_ms = max(self.longest_ms, answer.ms)
        self.recent.append(answer.ms)
        self.histogram[next((i for i, limit in enumerate(BUCKETS_MS) if answer.ms <= limit), -1)] += 1
        if answer.failed():
            self.fail(f"{method} {path}: {answer.status or answer.error}", method=method, status=answer.status,
                      ms=round(answer.ms, 1))

    def fail(self, what, **details):
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append({"at": time.time(), "what": what, **details})

    def percentile(self, share):
        ordered = sorted(self.recent)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def as_json(self, running, outstanding):
        return {
            "running": running, "outstanding": outstanding, "at": time.time(),
            "requests": self.requests, "failed_requests": self.failed, "logged_out_users": self.logged_out,
            "acknowledged_writes": self.acknowledged, "corrupt_downloads": self.corrupt,
            "arrivals_skipped": self.skipped, "longest_wait_ms": round(self.longest_ms, 1),
            "p50_ms": round(self.percentile(0.5), 1), "p99_ms": round(self.percentile(0.99), 1),
            "by_kind": dict(self.kinds), "failures": self.failures,
            "latency_histogram_ms": {str(limit): count for limit, count in
                                     zip([*BUCKETS_MS, "more"], self.histogram)},
        }


class User:
    """A logged-in person. Odd-numbered ones never log in again: their first session lasts to the end."""

    def __init__(self, number, options, http, tally):
        self.name, self.stays = f"user{number:03}", number % 2 == 1
        self.options, self.http, self.tally = options, http, tally
        self.browser = self.new_browser()
        self.out = False

    def new_browser(self):
        return Browser(self.http, self.options.url, self.options.host, self.tally.observe)

    async def log_in(self):
        """On a new device: the old session stays valid for what still runs with it."""
        browser = self.new_browser()
        if not await browser.log_in(self.name, self.options.password):
            return False
        self.browser = browser
        return True

    def notice(self, answer):
        """A logged-in user who is sent to the login page was logged out."""
        if answer.to_login() and not self.out:
            self.out = True
            self.tally.logged_out += 1
            self.tally.fail(f"{self.name} was logged out")


class Load:
    def __init__(self, options):
        self.options = options
        self.tally = Tally()
        self.ledger = Ledger(options.ledger)
        self.run = uuid.uuid4().hex[:8]
        self.chance = random.Random(options.seed)
        self.links, self.known = [], []  # documents seen in lists; (path, sha256) of own uploads
        self.count = 0
        self.stop = asyncio.Event()

    async def main(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sig, self.stop.set)
        tasks = set()
        reporter = asyncio.create_task(self.report_each_second(tasks))
        async with open_http() as http:
            self.users = [User(number, self.options, http, self.tally) for number in range(self.options.users)]
            await self.log_in_all()
            await self.arrive(tasks)
            if tasks:
                await asyncio.wait(tasks, timeout=DRAIN_S)
        reporter.cancel()
        self.ledger.close()
        self.write_summary(running=False, outstanding=sum(not task.done() for task in tasks))
        return 1 if self.tally.failed else 0

    async def log_in_all(self):
        limit = asyncio.Semaphore(8)

        async def one(user):
            async with limit:
                return await user.log_in()

        done = await asyncio.gather(*(one(user) for user in self.users))
        self.users = [user for user, ok in zip(self.users, done) if ok]
        if not self.users:
            raise SystemExit("load: no user could log in")
        for missing in range(done.count(False)):
            self.tally.fail("a user could not log in")

    async def arrive(self, tasks):
        """Poisson arrivals: the next one never waits for an answer."""
        begin = due = time.monotonic()
        names, weights = zip(*MIX)
        while not self.stop.is_set() and not (self.options.seconds and due - begin > self.options.seconds):
            due += self.chance.expovariate(self.options.rate)
            try:
                await asyncio.wait_for(self.stop.wait(), max(0, due - time.monotonic()))
                break
            except asyncio.TimeoutError:
                pass
            if len(tasks) >= OUTSTANDING_MAX:
                self.tally.skipped += 1
                continue
            action = getattr(self, self.chance.choices(names, weights)[0])
            task = asyncio.create_task(self.guarded(action, self.chance.choice(self.users), due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def guarded(self, action, user, due):
        try:
            user.notice(await action(user, due))
        except Exception as error:  # a bug of the load must not pass as success
            self.tally.fail(f"{action.__name__}: {type(error).__name__}: {error}")

    async def browse(self, user, due):
        answer = await user.browser.request("browse", "GET", f"/?page={self.chance.randint(1, 5)}", due)
        self.links = [int(pk) for pk in LINK.findall(answer.body)] or self.links
        return answer

    async def search(self, user, due):
        query = f"/search?q={self.chance.choice(WORDS)}&tag={self.chance.choice(TAGS + [''] * 4)}"
        return await user.browser.request("search", "GET", query, due)

    async def download(self, user, due):
        own = self.known and self.chance.random() < 0.5
        if not own and not self.links:
            return await self.browse(user, due)
        path, sha256 = self.chance.choice(self.known) if own else (f"/documents/{self.chance.choice(self.links)}", None)
        answer = await user.browser.request("download", "GET", f"{path}/download", due)
        if answer.status == 200 and sha256 and hashlib.sha256(answer.body).hexdigest() != sha256:
            self.tally.corrupt += 1
            self.tally.fail(f"{path}: the downloaded content differs from what was uploaded")
        return answer

    async def upload(self, user, due):
        self.count += 1
        key = f"load-{self.run}-{self.count:06}"
        words = " ".join(self.chance.choices(WORDS, k=self.chance.randint(50, self.options.words)))
        content = f"{key} {words}\n".encode()
        sha256 = hashlib.sha256(content).hexdigest()
        fields = {"title": f"Upload {key}", "client": "Load & Partners", "case_ref": f"L-{self.count % 50}",
                  "tags": f"{self.chance.choice(TAGS)}, load", "upload_key": key}
        answer = await self.send(user, key, sha256, fields, content, due, ())
        if answer.status in (None, 502, 503, 504):
            # A person who got no answer presses the button again; the key keeps that from storing it twice.
            await asyncio.sleep(AGAIN_AFTER_S)
            answer = await self.send(user, key, sha256, fields, content, None, (STORED_BEFORE,))
        return answer

    async def send(self, user, key, sha256, fields, content, due, expected):
        self.ledger.write(event="sent", key=key, sha256=sha256, user=user.name, at=time.time())
        answer, sent = await user.browser.upload(fields, "note.txt", content, due, expected)
        shown = sent and answer.status == 302 and "/documents/" in answer.location
        saved = shown or (sent and answer.status in expected)
        # status 0: the form could not be had, so the write never left.
        self.ledger.write(event="answered", key=key, acknowledged=saved, status=answer.status if sent else 0,
                          location=answer.location, at=time.time())
        self.tally.acknowledged += saved
        if shown:
            self.known.append((answer.location, sha256))
        return answer

    async def login(self, user, due):
        if user.stays:
            return await self.browse(user, due)
        failed_before = self.tally.failed
        if not await user.log_in() and self.tally.failed == failed_before:
            self.tally.fail(f"{user.name} could not log in")
        return await self.browse(user, None)

    async def report_each_second(self, tasks):
        while True:
            self.write_summary(running=True, outstanding=len(tasks))
            await asyncio.sleep(1)

    def write_summary(self, running, outstanding):
        part = f"{self.options.summary}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(self.tally.as_json(running, outstanding), file, indent=1)
        os.replace(part, self.options.summary)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", default="docs.example", help="the Host header")
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--rate", type=float, default=25, help="actions a second, over all users")
    parser.add_argument("--seconds", type=float, default=0, help="0: until SIGTERM")
    parser.add_argument("--password", default="eaglebox")
    parser.add_argument("--words", type=int, default=400, help="largest upload, in words")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.url = options.url.rstrip("/")

    async def run():
        return await Load(options).main()

    sys.exit(asyncio.run(run()))


if __name__ == "__main__":
    main()
