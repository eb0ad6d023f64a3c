#!/usr/bin/python3
"""`banyan assess` on the real Eaglebox: a PostgreSQL, a gunicorn, uploaded files. Nothing it must not miss, and no secret shown."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "lib")]
import demo_world  # noqa: E402

BANYAN = sys.argv.pop(1)


class Assess(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = tempfile.mkdtemp(prefix="banyan-assess-")
        cls.world = demo_world.World(f"{cls.base}/demo", types.SimpleNamespace(documents=20, people=5))
        cls.addClassCleanup(shutil.rmtree, cls.base, ignore_errors=True)
        cls.addClassCleanup(demo_world.clean, cls.world.directory)
        cls.world.create()
        cls.world.start_old()
        cls.world.new = demo_world.Postgres(cls.world, "new")  # never started: assess does not need it
        cls.world.write_spec()

    def assess(self, *changes):
        """The report on the demo's spec after exchanging texts in it, and what was printed."""
        text = self.world.spec.read_text()
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        spec = self.world.directory / "changed.yaml"
        spec.write_text(text)
        done = subprocess.run([BANYAN, "assess", "--json", "-f", spec], capture_output=True, text=True, check=False)
        self.assertTrue(done.stdout, done.stderr)
        return json.loads(done.stdout), done.stdout + done.stderr

    def musts(self, report):
        return sorted(item["id"] for item in report["items"] if item["severity"] == "must")

    def test_eaglebox_needs_no_change(self):
        report, printed = self.assess()
        self.assertEqual(self.musts(report), [])
        self.assertEqual(report["code"]["settings_module"], "eaglebox.settings")
        self.assertIn("gunicorn", report["app"]["process"]["command"])
        self.assertEqual((report["health"][0]["path"], report["health"][0]["status"]), ("/healthz", 200))
        self.assertEqual(report["files"][0]["files"], 20)
        self.assertEqual(report["files"][0]["bytes"],
                         sum(path.stat().st_size for path in self.world.media.rglob("*") if path.is_file()))
        self.assertEqual(report["database"]["wal_level"], "logical")
        self.assertGreater(report["database"]["tables"], 5)
        for secret in (self.world.secret_key, self.world.old.password):
            self.assertNotIn(secret, printed)

    def test_a_secret_that_differs_is_found_without_showing_it(self):
        other = self.world.directory / "secrets" / "other"
        other.write_text("another-key\n")
        report, printed = self.assess(("secrets/secret_key", "secrets/other"))
        self.assertEqual(self.musts(report), ["secret.SECRET_KEY"])
        self.assertNotIn("another-key", printed)
        self.assertNotIn(self.world.secret_key, printed)

    def test_what_the_new_side_would_lack_is_named_with_its_line(self):
        report, _ = self.assess(("DATABASE_URL: database.main, ", ""), (', "AWS_*": bucket.documents', ""))
        self.assertEqual(self.musts(report), ["django.storage", "django.variable.DATABASE_URL"])
        where = {item["id"]: item["where"] for item in report["items"]}["django.variable.DATABASE_URL"]
        file, line = where.split(":")
        self.assertIn("DATABASE_URL", (demo_world.EAGLEBOX / file).read_text().splitlines()[int(line) - 1])

    def test_what_is_not_there_is_an_item_and_not_a_crash(self):
        report, _ = self.assess((f"127.0.0.1:{self.world.old_port}", f"127.0.0.1:{demo_world.free_port()}"),
                                (str(self.world.media), "/nonexistent"), ("old_database_url", "nothing"))
        self.assertEqual(self.musts(report), ["app.answers", "database.connect", "files.documents"])


if __name__ == "__main__":
    unittest.main()
