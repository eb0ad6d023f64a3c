#!/usr/bin/python3
"""What `migrate create` insists on: a gateway that is proven to change nothing, and no open finding of the preflight.

Real: two PostgreSQL servers, an application, and `banyan up` with every role.
"""
import json
import os
import pathlib
import sys
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from project import Project, eventually  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))
PRECONDITION = 3


class Create(unittest.TestCase):
    def setUp(self):
        self.project = self.enterContext(
            Project(BANYAN, seed="create table t(id int primary key, v text); insert into t values (1, 'one')"))
        self.old, self.new, self.directory = self.project.old, self.project.new, self.project.directory
        self.get, self.status, self.notice = self.project.get, self.project.status, self.project.notice

    def banyan(self, *words, code=0):
        self.assertEqual(self.project.banyan(*words), code, self.project.printed)
        return self.project.printed

    def ask(self, *words, code=0):
        self.banyan(*words, "--json", code=code)
        return json.loads(self.project.printed)

    def follow(self):
        self.project.until("FOLLOWING")

    def test_a_gateway_that_changes_nothing_is_proven(self):
        self.assertEqual(self.status()["state"], "DRAFT")
        for path in ("/documents/1", "/documents/2", "/whoami", "/logout", "/documents/3"):
            self.get(path)
        eventually(lambda: "/documents/3" in (self.directory / "access.log").read_text(), "the access log")
        self.banyan("migrate", "create", "lift", "--detach")
        adoption = self.status()["adoption"]
        self.assertEqual((adoption["equal"], adoption["wanted"], adoption["different"]), (20, 20, []))
        document = [path for path in adoption["paths"] if path.startswith("/documents/")]
        self.assertEqual(len(document), 1, "one of a shape")
        self.assertEqual(set(adoption["paths"]), {"/healthz", "/", "/whoami", *document})
        self.assertIn("20 of 20 requests compared equal", self.banyan("migrate", "status", "lift"))
        self.follow()
        self.banyan("migrate", "create", "lift", "--detach")  # under way: nothing is asked again
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
        self.banyan("migrate", "create", "lift", "--detach", "--accept", "gateway.unproven")
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
        self.banyan("migrate", "create", "lift", "--detach")
        self.assertEqual(self.status()["accepted"], [])
        self.follow()

    def test_a_call_right_after_the_start_waits_for_it(self):
        """`up --detach` returns when the roles answer, not when all that was under way is brought back."""
        self.banyan("down")
        orders = self.directory / "orders"
        orders.mkdir()
        (orders / "control.resume").write_text("delay 1500")
        with unittest.mock.patch.dict(os.environ, BANYAN_CHECKPOINTS=str(orders)):
            self.banyan("up", "--detach")
        self.assertTrue((orders / "control.resume.reached").exists())
        self.banyan("apply")

    def test_a_cancelled_migration_leaves_nothing_and_may_be_created_again(self):
        for _ in range(2):
            self.banyan("migrate", "create", "lift", "--detach")
            self.follow()
            self.assertEqual(self.new.value("select v from t", "shop"), "one")
            self.assertIn("1 objects dropped", self.banyan("migrate", "cancel", "lift"))
            self.assertIsNone(self.new.value("select to_regclass('t')", "shop"))
            self.assertEqual(self.status()["state"], "CANCELLED")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
