#!/usr/bin/python3
"""What `migrate create` insists on: a gateway that is proven to change nothing, and no open finding of the preflight.

Real: two PostgreSQL servers, an application, and `banyan up` with every role.
"""
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from cluster import Postgres, eventually, free_port  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))
PRECONDITION = 3
SPEC = """\
banyan: 1
name: small
source:
  app: {{ listen: 127.0.0.1:{app}, health: {{ path: /healthz }} }}
  database: {{ url: {old} }}
gateway: {{ listen: 127.0.0.1:{gateway}, access_log: access.log }}
services:
  web:
    command: "exec /usr/bin/python3 {here}/old_app.py ${{PORT}} none"
    instances: {{ min: 1 }}
databases: {{ main: {{ url: {new} }} }}
routes: [ {{ match: /*, to: web, default: source }} ]
migrations: {{ lift: {{ move: {{ database: all, routes: all }} }} }}
"""


class Create(unittest.TestCase):
    def setUp(self):
        self.old, self.new = self.enterContext(Postgres()), self.enterContext(Postgres())
        for server in (self.old, self.new):
            server.create_database("shop")
        self.old.psql("create table t(id int primary key, v text); insert into t values (1, 'one')", "shop")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="banyan-create-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.app_port, self.gateway_port = free_port(), free_port()
        self.notice = self.directory / "notice"
        app = subprocess.Popen(["/usr/bin/python3", HERE / "old_app.py", str(self.app_port), self.notice])
        self.addCleanup(app.wait)
        self.addCleanup(app.kill)
        (self.directory / "banyan.yaml").write_text(SPEC.format(
            app=self.app_port, gateway=self.gateway_port, old=self.old.url("shop"), new=self.new.url("shop"),
            here=HERE))
        self.addCleanup(self.banyan, "down")
        self.banyan("up", "--detach", code=0)
        self.banyan("apply", code=0)
        eventually(lambda: self.get("/healthz") == 200, "the gateway")

    def banyan(self, *words, code=None):
        done = subprocess.run([BANYAN, *words], cwd=self.directory, capture_output=True, text=True, timeout=200,
                              stdin=subprocess.DEVNULL)
        if code is not None:
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def ask(self, *words, code=None):
        return json.loads(self.banyan(*words, "--json", code=code))

    def status(self):
        return self.ask("migrate", "status", "lift")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway_port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def follow(self):
        eventually(lambda: self.status()["state"] == "FOLLOWING", "the copy")

    def test_a_gateway_that_changes_nothing_is_proven(self):
        self.assertEqual(self.status()["state"], "DRAFT")
        for path in ("/documents/1", "/documents/2", "/whoami", "/logout", "/documents/3"):
            self.get(path)
        eventually(lambda: "/documents/3" in (self.directory / "access.log").read_text(), "the access log")
        self.banyan("migrate", "create", "lift", "--detach", code=0)
        adoption = self.status()["adoption"]
        self.assertEqual((adoption["equal"], adoption["wanted"], adoption["different"]), (20, 20, []))
        self.assertLessEqual({"/healthz", "/", "/documents/3", "/whoami"}, set(adoption["paths"]))
        self.assertNotIn("/logout", adoption["paths"])
        self.assertIn("20 of 20 requests compared equal", self.banyan("migrate", "status", "lift"))
        self.follow()
        self.banyan("migrate", "create", "lift", "--detach", code=0)  # under way: nothing is asked again
        self.assertEqual(self.ask("migrate", "report", "lift")["adoption"]["equal"], 20)

    def test_a_difference_stops_create_until_it_is_accepted(self):
        self.notice.touch()
        self.get("/whoami")
        eventually(lambda: "/whoami" in (self.directory / "access.log").read_text(), "the access log")
        shown = self.banyan("migrate", "create", "lift", "--detach", code=PRECONDITION)
        for words in ("REFUSED", "gateway.unproven", "/whoami: body from byte", "--accept gateway.unproven"):
            self.assertIn(words, shown)
        self.assertEqual(self.status()["state"], "DRAFT")
        self.assertIsNone(self.new.value("select to_regclass('t')", "shop"), "nothing was started")
        self.banyan("migrate", "create", "lift", "--detach", "--accept", "gateway.unproven", code=0)
        self.assertEqual([one["id"] for one in self.status()["accepted"]], ["gateway.unproven"])
        self.assertIn("accepted", self.banyan("migrate", "status", "lift"))
        self.follow()

    def test_a_must_of_the_preflight_stops_create_until_it_is_repaired(self):
        self.new.psql("create table t(id int)", "shop")
        refused = self.ask("migrate", "create", "lift", code=PRECONDITION)
        self.assertEqual([one["id"] for one in refused["open"]], ["target.empty"])
        shown = self.banyan("migrate", "create", "lift", "--detach", code=PRECONDITION)
        for words in ("target.empty", "exist already: public.t", "drop table public.t;", "--accept target.empty"):
            self.assertIn(words, shown)
        self.new.psql(refused["open"][0]["fix_sql"], "shop")
        self.banyan("migrate", "create", "lift", "--detach", code=0)
        self.assertEqual(self.status()["accepted"], [])
        self.follow()


if __name__ == "__main__":
    unittest.main(warnings="ignore")
