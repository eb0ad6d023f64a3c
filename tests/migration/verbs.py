#!/usr/bin/python3
"""The verbs as a person meets them who mistypes, comes too early, loses a database or changes an address: each refusal
says what and why, with ways out that work when typed as printed, the documented exit code, and the same under --json.

Real: two PostgreSQL servers and `banyan up`; only a database moves.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from cluster import Postgres, eventually  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))
OK, ERROR, PRECONDITION, UNCONFIRMED, INCONCLUSIVE = 0, 1, 3, 4, 8
SPEC = """\
banyan: 1
name: shop
secrets: { file: .env }
gateway: { listen: 127.0.0.1:0 }
source:
  database: { url: { secret: OLD_DATABASE_URL } }
databases:
  new: { url: { secret: NEW_DATABASE_URL } }
migrations:
  shop: { move: { database: { to: new } } }
"""
TABLES = "create table item(id int primary key, v int); insert into item select g, g from generate_series(1, 2000) g;"


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="banyan-verbs-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        (self.folder / "banyan.yaml").write_text(SPEC)

    def banyan(self, words):
        """The exit code; what was printed is in `printed`."""
        done = subprocess.run([BANYAN, *words.split()], cwd=self.folder, capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL)
        self.printed = done.stdout + done.stderr
        return done.returncode

    def ways(self):
        return re.findall(r"^ +\d  (.*)$", self.printed, re.M)

    def refused(self, words, code, *said):
        self.assertEqual(self.banyan(words), code, self.printed)
        for text in said:
            self.assertIn(text, self.printed)
        self.assertTrue(self.ways(), f"{words}: no way out in {self.printed}")
        self.assertEqual(self.banyan(words + " --json"), code, self.printed)
        self.assertEqual(set(json.loads(self.printed)["error"]), {"code", "message", "remedy"})


class CommandLine(Folder):
    def test_a_misspelt_word_is_told_with_the_nearest_one(self):
        for words, way in (("migrate stauts shop", "banyan migrate status"), ("migrte status shop", "banyan migrate"),
                           ("migrate status shop --wach", "banyan migrate status --watch"),
                           ("migrate switch shop --dryrun", "banyan migrate switch --dry-run"),
                           ("migrate verify", "banyan migrate verify --help"), ("migrate", "banyan migrate --help"),
                           ("migrate throttle shop --mb-per-s many", "banyan migrate throttle --help")):
            self.refused(words, ERROR)
            self.banyan(words)
            self.assertEqual(self.ways()[0], way, self.printed)

    def test_every_way_out_in_the_sources_is_a_verb(self):
        self.banyan("migrate --help")
        verbs = set(re.findall(r"^  ([a-z-]+) ", self.printed, re.M))
        self.assertGreater(len(verbs), 10)
        root = pathlib.Path(__file__).resolve().parents[2]
        for path in [*root.glob("src/**/*.cc"), *root.glob("docs/**/*.md")]:
            for verb in re.findall(r"banyan migrate ([a-z-]+) (?:NAME|\{|[a-z]+\b|\")", path.read_text()):
                self.assertIn(verb, verbs, path)


class Database(Folder):
    def setUp(self):
        super().setUp()
        self.old, self.new = self.enterContext(Postgres()), self.enterContext(Postgres())
        for server in (self.old, self.new):
            server.create_database("shop")
        self.old.psql(TABLES, "shop")
        self.set_addresses()
        self.addCleanup(self.banyan, "down")
        for words in ("up --detach", "apply"):
            self.assertEqual(self.banyan(words), OK, self.printed)

    def set_addresses(self, old=None, new=None):
        env = self.folder / ".env"
        env.write_text(f"OLD_DATABASE_URL={old or self.old.url('shop')}\nNEW_DATABASE_URL={new or self.new.url('shop')}\n")
        env.chmod(0o600)

    def follow(self):
        self.assertEqual(self.banyan("migrate create shop"), OK, self.printed)
        self.assertIn("FOLLOWING", self.printed)

    def state(self):
        self.banyan("migrate status shop --json")
        return json.loads(self.printed)

    def test_who_comes_too_early_is_told_where_to_begin(self):
        for verb in ("verify", "repair", "throttle", "switch", "reverse"):
            self.refused(f"migrate {verb} shop", PRECONDITION, "was not created")
            self.banyan(f"migrate {verb} shop")
            self.assertEqual(self.ways(), ["banyan migrate create shop"])
        self.refused("migrate status shp", ERROR, "shop")
        self.refused("migrate complete shop", UNCONFIRMED, "not typed")
        self.assertEqual(self.banyan("migrate cancel shop"), OK, self.printed)
        self.assertNotEqual(self.state()["state"], "CANCELLED", "there was nothing to cancel")

    def test_an_address_that_does_not_work_is_told_with_what_helps(self):
        port = self.old.port
        self.old.run("create role app login password 'geheim'")
        pathlib.Path(self.old.data, "pg_hba.conf").write_text(
            "host all app 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n")
        self.old.run("select pg_reload_conf()")
        for url, *said in ((f"postgresql://app:hush@127.0.0.1:{port}/shop", "password authentication failed", "pgpass"),
                           (f"postgresql://app@127.0.0.1:{port}/shop", "no password supplied", "pgpass"),
                           ("postgresql://u:hush@no-such-host.invalid/shop", "Correct the host"),
                           ("postgresql://u:hush@127.0.0.1:1/shop", "Connection refused", "Start the server"),
                           (self.old.url("none"), "does not exist", "Correct the name"),
                           (self.old.url("shop") + "?sslmode=require", "SSL", "sslmode"),
                           (self.old.url("shop", "stranger"), "pg_hba.conf", "pg_reload_conf"),
                           ("postgresql//u:hush@h", "not a PostgreSQL address", "postgresql://user@host")):
            self.set_addresses(old=url)
            self.refused("migrate create shop", ERROR, "source", *said)
            self.assertNotIn("hush", self.printed)

    def test_nobody_moves_a_database_into_itself(self):
        self.set_addresses(new=self.old.url("shop"))
        for verb in ("migrate create shop", "migrate create shop --accept target.is_other --accept target.empty"):
            self.assertEqual(self.banyan(verb), PRECONDITION, self.printed)
            self.assertIn("both addresses lead to the same database", self.printed)
            self.assertNotIn("go on despite it", self.printed)

    def test_what_cannot_be_asked_now_is_not_told_as_different(self):
        self.follow()
        self.new.stop()
        self.assertEqual(self.banyan("migrate verify shop"), INCONCLUSIVE, self.printed)
        self.assertIn("INCONCLUSIVE", self.printed)
        self.assertRegex(self.printed, "Connection refused|server closed|terminating connection")
        self.assertNotIn("NOT EQUAL", self.printed)
        eventually(lambda: self.state()["gates"][0]["green"] is False, "the gate to be red", 60)
        self.assertEqual(self.banyan("migrate switch shop --dry-run"), PRECONDITION, self.printed)
        self.refused("migrate switch shop", PRECONDITION, "database: ")

    def test_a_cancel_that_could_not_end_is_asked_for_again(self):
        self.follow()
        self.new.stop()
        self.refused("migrate cancel shop", ERROR, "127.0.0.1")
        seen = self.state()
        self.assertEqual((seen["state"], seen["next"]), ("BLOCKED", "banyan migrate cancel shop"))
        self.refused("migrate create shop", PRECONDITION, "is being ended")
        for words in ("down", "up --detach"):
            self.assertEqual(self.banyan(words), OK, self.printed)
        self.assertEqual(self.state()["state"], "BLOCKED")
        self.new.start()
        self.assertEqual(self.banyan("migrate cancel shop"), OK, self.printed)
        self.assertEqual(self.state()["state"], "CANCELLED")
        for server in (self.old, self.new):
            self.assertFalse(server.run("select 1 from pg_replication_slots"))
            self.assertFalse(server.run("select 1 from pg_namespace where nspname = 'banyan'", "shop"))
        self.follow()

    def test_another_password_or_address_is_taken_over(self):
        self.follow()
        self.old.run("create role other superuser login")
        self.set_addresses(old=self.old.url("shop", "other"))
        self.follow()
        self.old.run("alter role postgres nologin")
        self.old.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^banyan' "
                     "and usename = 'postgres'", user="other")
        self.old.run("update item set v = -1 where id = 7", "shop", "other")
        eventually(lambda: self.new.value("select v from item where id = 7", "shop") == -1, "the stream", 60)
        self.old.run("alter role postgres login", user="other")
        self.new.create_database("another")
        self.set_addresses(old=self.old.url("shop", "other"), new=self.new.url("another"))
        self.refused("migrate create shop", PRECONDITION, "knows nothing of this migration")
        self.assertEqual(self.state()["state"], "FOLLOWING")

    def test_settings_of_the_role_do_not_reach_our_sessions(self):
        for server in (self.old, self.new):
            for setting in ("statement_timeout = '1ms'", "lock_timeout = '1ms'", "idle_session_timeout = '1s'",
                            "default_transaction_isolation = 'serializable'", "idle_in_transaction_session_timeout = '1ms'"):
                server.run(f"alter role postgres set {setting}")
        self.follow()
        pids = "select count(*) from pg_stat_activity where application_name ~ '^banyan' and backend_start < now() - interval '2 s'"
        self.new.run("alter role postgres reset all")
        eventually(lambda: self.new.value(pids) > 0, "a session that is older than the timeout", 60)
        self.assertEqual(self.banyan("migrate verify shop"), OK, self.printed)
        self.assertIn("Next: banyan migrate switch shop", self.printed)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
