#!/usr/bin/python3
"""The writer census before the switch and after it: the application behind the gateway, an instance of the fleet, a
writer that the spec names, and the cron job that nobody remembers are told apart, though all but the last two come
from one address, under one role, without a name.

Real: two PostgreSQL servers, an application that writes, and `banyan up` with every role.
"""
import http.client
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from project import HERE, Project, eventually  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))
PRECONDITION = 3
# A write holds its lock long enough to be met by a look.
SEED = """
create table ledger(id bigserial primary key, key text);
create function slowly() returns trigger language plpgsql as 'begin perform pg_sleep(0.15); return new; end';
create trigger slowly before insert on ledger for each row execute function slowly();
"""


class WriterCensus(unittest.TestCase):
    def setUp(self):
        self.project = self.enterContext(Project(BANYAN, seed=SEED, app=HERE / "writing_app.py"))
        self.assertEqual(self.project.banyan("migrate", "create", "lift", "--detach", "--accept", "gateway.unproven"),
                         0, self.project.printed)
        self.project.until("FOLLOWING")

    def post(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.project.gateway_port, timeout=30)
        connection.request("POST", "/through-the-gateway", "")
        self.assertEqual(connection.getresponse().status, 201)
        connection.close()

    def run_psql(self, name):
        subprocess.run([f"{self.project.old.binaries}/psql", "-X", "-q", self.project.old_url, "-c",
                        "insert into ledger(key) values ('directly')"], check=True, cwd="/",
                       env={**os.environ, "PGAPPNAME": name})

    def writers(self):
        return self.project.status()["database"]["writers"]

    def meet(self, write, **wanted):
        """Writes until the census has met a writer that is as wanted."""
        def met():
            write()
            return next((w for w in self.writers() if wanted.items() <= w.items()), None)
        return eventually(met, wanted)

    def gate(self):
        return next(gate for gate in self.project.status()["gates"] if gate["name"] == "writers")

    def name_writers(self, *names):
        spec = self.project.directory / "banyan.yaml"
        spec.write_text(spec.read_text().replace("database: all", "database: { writers: [%s] }" % ", ".join(names)))

    def test_every_writer_is_told_apart(self):
        self.meet(self.post, kind="application", application="")
        self.assertEqual({w["kind"] for w in self.writers()}, {"application"}, self.writers())
        self.assertIn("no stranger", self.gate()["seen"])

        forgotten = self.meet(lambda: self.run_psql("nightly"), application="nightly")
        self.assertEqual((forgotten["kind"], forgotten["program"]), ("stranger", "psql"))
        self.meet(lambda: self.run_psql("report"), application="report", kind="stranger")
        gate = self.gate()
        self.assertTrue(gate["green"], "a warning while the spec names no writers")
        self.assertIn("stranger nightly", gate["seen"])
        self.assertNotIn("application", gate["seen"])
        self.project.banyan("migrate", "status", "lift")
        self.assertIn("stranger: nightly psql", self.project.printed)

        self.name_writers("report")
        kinds = {w["application"]: w["kind"] for w in self.writers()}
        self.assertEqual(kinds, {"": "application", "nightly": "stranger", "report": "named"})
        self.assertFalse(self.gate()["green"])
        self.assertIn("nightly", self.gate()["seen"])
        self.assertNotIn("report", self.gate()["seen"])
        self.assertEqual(self.project.banyan("migrate", "switch", "lift"), PRECONDITION, self.project.printed)

    def test_after_the_switch_the_instances_write(self):
        self.assertEqual(self.project.banyan("migrate", "verify", "lift"), 0, self.project.printed)
        self.project.act("switch")
        self.meet(self.post, kind="instance", application="")
        self.assertEqual({w["kind"] for w in self.writers()}, {"instance"}, self.writers())


if __name__ == "__main__":
    unittest.main(warnings="ignore")
