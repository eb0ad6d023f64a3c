"""A project under test: two PostgreSQL servers, a small old application, and `banyan up` with every role."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from cluster import Postgres, eventually, free_port  # noqa: E402

SPEC = """\
banyan: 1
name: small
source:
  app: {{ listen: 127.0.0.1:{p.app_port}, health: {{ path: /healthz }} }}
  database: {{ url: {p.old_url} }}
{source}
gateway: {{ listen: 127.0.0.1:{p.gateway_port}, access_log: access.log{gateway} }}
services:
  web:
    command: "exec /usr/bin/python3 {p.app} ${{PORT}} ${{HOST}} {p.new_url}"
    instances: {{ min: 1 }}
databases: {{ main: {{ url: {p.new_url} }} }}
routes: [ {{ match: /*, to: web, default: source }} ]
migrations: {{ lift: {{ move: {{ database: all, routes: all{move} }} }} }}
{more}
"""


class Project(contextlib.ExitStack):
    """`source`, `move`, `more` and `gateway` are added to the spec; `seed` is run in the old database, named shop.
    `app PORT HOST URL` is the application, on both sides; without it old_app.py."""

    def __init__(self, binary, source="", move="", more="", gateway="", seed="", app=None):
        super().__init__()
        self.binary, self.seed, self.app = binary, seed, app or HERE / "old_app.py"
        self.parts = {"source": source, "move": move, "more": more, "gateway": gateway}

    def __enter__(self):
        try:
            return self.begin()
        except BaseException:
            self.close()
            raise

    def begin(self):
        self.old, self.new = self.enter_context(Postgres()), self.enter_context(Postgres())
        for server in (self.old, self.new):
            server.create_database("shop")
        self.old_url, self.new_url = self.old.url("shop"), self.new.url("shop")
        if self.seed:
            self.old.psql(self.seed, "shop")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="banyan-project-"))
        self.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.app_port, self.gateway_port = free_port(), free_port()
        self.notice = self.directory / "notice"
        third = self.notice if self.app.name == "old_app.py" else self.old_url
        app = subprocess.Popen(["/usr/bin/python3", self.app, str(self.app_port), "127.0.0.1", third])
        self.callback(app.wait)
        self.callback(app.kill)
        spec = self.directory / "banyan.yaml"
        spec.write_text(SPEC.format(p=self, **self.parts))
        self.callback(self.banyan, "down")
        for words in (("up", "--detach"), ("apply",)):
            assert self.banyan(*words) == 0, self.printed
        eventually(lambda: self.get("/healthz") == 200, "the gateway")
        return self

    def banyan(self, *words):
        """The exit code; what was printed is in `printed`."""
        done = subprocess.run([self.binary, *words], cwd=self.directory, capture_output=True, text=True, timeout=200,
                              stdin=subprocess.DEVNULL)
        self.printed = done.stdout + done.stderr
        return done.returncode

    def ask(self, *words):
        self.banyan(*words, "--json")
        return json.loads(self.printed)

    def status(self):
        return self.ask("migrate", "status", "lift")

    def until(self, state):
        eventually(lambda: self.status()["state"] == state, state)

    def act(self, verb):
        """switch or reverse, again while it refuses because of the moment."""
        for _ in range(20):
            if self.banyan("migrate", verb, "lift") == 0:
                return
            time.sleep(0.5)
        raise AssertionError(f"{verb}: {self.printed}")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway_port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()
