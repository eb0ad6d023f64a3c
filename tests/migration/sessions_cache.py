#!/usr/bin/python3
"""Sessions of `mode: cache` through a whole migration, there and back: the key that signs them comes from the spec.

Real Django on both sides, real PostgreSQL and Redis, and every role of Banyan. Nobody is logged out.
"""
import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from project import Project, eventually  # noqa: E402
from cluster import Redis  # noqa: E402

sys.path.insert(0, str(HERE.parent / "sessions"))
from django_process import SECRET_KEY, Django  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))


def spec_parts(redis, key):
    return {"source": f"  sessions: {{ kind: django-db{key} }}", "move": ", sessions: { mode: cache }",
            "more": f"redis: {{ sessions: {{ url: {redis.url()} }} }}"}


class SessionsCache(unittest.TestCase):
    def test_nobody_is_logged_out_there_and_back(self):
        redis = self.enterContext(Redis())
        project = self.enterContext(Project(BANYAN, **spec_parts(redis, ", secret_key: { file: key }")))
        (project.directory / "key").write_text(SECRET_KEY + "\n")
        old = self.enterContext(Django("db", project.old_url, redis.url()))
        old.migrate()
        keys = old.create(20)
        self.assertEqual(project.banyan("migrate", "create", "lift", "--detach"), 0, project.printed)
        project.until("FOLLOWING")
        eventually(lambda: project.banyan("migrate", "verify", "lift") == 0, "verification")
        project.act("switch")
        before = old.who(keys)
        with Django("cache", project.new_url, redis.url()) as new:
            self.assertEqual(new.who(keys), before)
            new.touch(keys[:5], 9)
            new.logout(keys[5:7])
            keys += new.create(3)
            expected = new.who(keys)
        project.act("reverse")
        self.assertEqual(old.who(keys), expected)
        self.assertEqual([who for who, *_ in expected].count("ada"), 21)

    def test_without_the_key_the_spec_is_refused_before_anything_starts(self):
        with Redis() as redis, self.assertRaisesRegex(AssertionError, "secret_key"):
            with Project(BANYAN, **spec_parts(redis, "")):
                pass


if __name__ == "__main__":
    unittest.main(warnings="ignore")
