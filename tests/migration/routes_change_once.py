#!/usr/bin/python3
"""Routes are changed by one at a time: a switch that is asked for while the gateway is being told of other endpoints
waits for that, and its own routes are the later ones.

Real: two PostgreSQL servers, an application, and `banyan up` with every role.
"""
import json
import os
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from project import Project, eventually  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))


class Routes(unittest.TestCase):
    def setUp(self):
        self.orders = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="banyan-orders-")))
        self.enterContext(unittest.mock.patch.dict(os.environ, BANYAN_CHECKPOINTS=str(self.orders)))
        self.project = self.enterContext(Project(BANYAN, seed="create table t(id int primary key)"))

    def ask(self, *words):
        self.assertEqual(self.project.banyan(*words, "--json"), 0, self.project.printed)
        return json.loads(self.project.printed)

    def leads_to(self):
        return self.ask("route", "ls")["snapshot"]["routes"][0]["to"]

    def test_a_switch_while_endpoints_change(self):
        self.ask("migrate", "create", "lift", "--detach")
        self.project.until("FOLLOWING")
        self.ask("migrate", "verify", "lift")
        part = self.orders / "part"
        part.write_text("delay 4000")
        part.rename(self.orders / "control.new_routes")
        spec = self.project.directory / "banyan.yaml"
        spec.write_text(spec.read_text().replace("min: 1", "min: 2"))
        self.ask("apply")
        eventually(lambda: (self.orders / "control.new_routes.reached").exists(), "the change of endpoints", 30)
        self.project.act("switch")
        self.assertEqual(self.leads_to(), "web")
        self.assertEqual(self.project.status()["serves"], "new")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
