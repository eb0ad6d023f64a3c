"""Sessions made by a real Django in PostgreSQL are read by a real Django from Redis; nobody is logged out."""
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from cluster import Banyan, Postgres, Redis, RpcError, eventually  # noqa: E402

from django_process import SECRET_KEY, Django  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BINARY = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else "build/release/banyan")


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.postgres = cls.enterClassContext(Postgres())
        cls.redis = cls.enterClassContext(Redis())
        cls.database = 0

    def setUp(self):
        type(self).database += 1
        name = f"shop{self.database}"
        self.postgres.create_database(name)
        self.url = self.postgres.url(name)
        self.redis_url = self.redis.url(self.database)
        self.agent = self.enterContext(Banyan(BINARY, "agent"))
        self.old = self.enterContext(Django("db", self.url, self.redis_url))
        self.old.migrate()

    def start(self, **config):
        config = {"name": "shop", "kind": "django-db", "database": self.url, "redis": self.redis_url,
                  "mode": "cached_db", **config}
        self.agent.call("sessions.start", **config)

    def carried(self, count):
        eventually(lambda: self.agent.call("sessions.status", name="shop").get("carried") == count,
                   f"{count} carried sessions")

    def final(self, direction="to_new"):
        return self.agent.call("sessions.final", name="shop", direction=direction)

    def verify(self):
        return self.agent.call("sessions.verify", name="shop", wait_ms=10000)

    def without_database_rows(self, database="django_session"):
        self.postgres.run(f"truncate {database}", f"shop{self.database}")

    def test_nobody_is_logged_out_with_cached_db(self):
        self.check_forward("cached_db")

    def test_nobody_is_logged_out_with_cache(self):
        self.check_forward("cache")

    def check_forward(self, mode):
        keys = self.old.create(60)
        before = self.old.who(keys)
        self.start(mode=mode)
        self.carried(60)
        self.old.touch(keys[:5], 7)
        self.old.logout(keys[5:10])
        keys += self.old.create(10)
        final = self.final()
        self.assertEqual(final["sessions"], 65)
        self.assertEqual(self.verify()["state"], "equal")
        expected = self.old.who(keys)
        self.assertEqual(expected[10:60], before[10:60])
        self.without_database_rows()  # so that only Redis can answer
        with Django(mode, self.url, self.redis_url) as new:
            found = new.who(keys)
            ages = [ttl for ttl in new.ttl(keys) if ttl is not None]
        self.assertEqual(found, expected)
        self.assertEqual([who for who, *_ in found].count("ada"), 65)
        self.assertLessEqual(max(ages), 14 * 24 * 3600)

    def test_the_final_pass_repairs_redis(self):
        keys = self.old.create(20)
        self.start(mode="cache")
        self.carried(20)
        client = self.redis.client(self.database)
        prefix = ":1:django.contrib.sessions.cache"
        client.delete(prefix + keys[0])
        client.set(prefix + keys[1], b"\x80\x02}.")
        client.set(prefix + "s" * 32, b"\x80\x02}.")
        client.set("unrelated", "1")
        self.final()
        self.assertEqual(self.verify(), {"state": "equal", "sessions": 20, "different": 0})
        self.assertEqual(client.get("unrelated"), b"1")
        self.assertIsNone(client.get(prefix + "s" * 32))

    def test_sessions_come_back_with_cache(self):
        keys = self.old.create(12)
        self.start(mode="cache", secret_key=SECRET_KEY)
        self.carried(12)
        self.final()
        with Django("cache", self.url, self.redis_url) as new:
            new.touch(keys[:3], 9)
            new.logout(keys[3:5])
            keys += new.create(4)
            expected = new.who(keys)
        back = self.final("to_old")
        self.assertEqual(back["sessions"], 14)
        self.assertEqual(self.old.who(keys), expected)

    def test_a_rollback_without_the_secret_key_is_refused(self):
        self.old.create(2)
        self.start(mode="cache")
        self.carried(2)
        self.final()
        self.assertFalse(self.agent.call("sessions.status", name="shop")["reverse_ready"])
        with Django("cache", self.url, self.redis_url) as new:
            new.create(1)
        with self.assertRaises(RpcError) as refused:
            self.final("to_old")
        self.assertIn("SECRET_KEY", refused.exception.remedy)

    def test_a_redis_that_lost_its_memory_logs_nobody_out(self):
        keys = self.old.create(4)
        self.start(mode="cache", secret_key=SECRET_KEY)
        self.carried(4)
        self.final()
        self.redis.client(self.database).flushdb()
        self.final("to_old")
        self.assertEqual([who for who, *_ in self.old.who(keys)], ["ada"] * 4)

    def test_the_new_side_is_left_alone_after_the_final_pass_even_by_a_killed_agent(self):
        keys = self.old.create(3)
        self.start()
        self.carried(3)
        self.final()
        self.agent.kill9()
        self.agent.start()
        with Django("cache", self.url, self.redis_url) as new:
            other = new.create(1)
            self.start()  # the same again
            self.assertEqual(self.agent.call("sessions.status", name="shop")["state"], "settled_new")
            self.assertEqual(new.who(other)[0][0], "ada")
        self.agent.call("sessions.resume", name="shop")
        self.old.touch(keys, 3)
        self.assertEqual(self.verify()["state"], "equal")

    def test_a_killed_agent_goes_on(self):
        self.old.create(3)
        self.start()
        self.carried(3)
        self.agent.kill9()
        self.old.create(2)
        self.agent.start()
        self.carried(5)

    def test_a_restarted_redis_is_filled_again(self):
        self.old.create(6)
        self.start()
        self.carried(6)
        self.redis.restart()
        self.assertEqual(self.verify()["state"], "equal")
        self.assertEqual(self.redis.client(self.database).dbsize(), 6)

    def test_a_session_that_cannot_be_read_is_counted_and_left_to_the_database(self):
        self.old.create(2)
        self.postgres.run("insert into django_session values ('abcdefghijklmnop', 'garbage', now() + '1 day')",
                          f"shop{self.database}")
        self.start()
        self.carried(2)
        status = self.agent.call("sessions.status", name="shop")
        self.assertEqual((status["sessions"], status["unreadable"]), (3, 1))

    def test_thousands_are_carried_and_settled_in_one_go(self):
        self.old.create(1)
        self.postgres.run(
            "insert into django_session select md5(g::text), session_data, expire_date"
            " from django_session, generate_series(1, 5000) g", f"shop{self.database}")
        self.start()
        self.carried(5001)
        final = self.final()
        self.assertEqual((final["sessions"], final["changed"]), (5001, 0))
        print(f"final pass over 5001 sessions: {final['ms']} ms", file=sys.stderr)
        self.assertEqual(self.verify()["state"], "equal")

    def test_mistakes_are_explained(self):
        for wrong in ({"mode": "memcached"}, {"redis": "http://x"}, {"kind": "php"}):
            with self.assertRaises(RpcError):
                self.start(**wrong)
        with self.assertRaises(RpcError) as unknown:
            self.agent.call("sessions.final", name="nobody")
        self.assertEqual(unknown.exception.code, "not_found")
        self.start(database=self.postgres.url("postgres"))
        status = eventually(lambda: (s := self.agent.call("sessions.status", name="shop")).get("error") and s,
                            "an error")
        self.assertIn("django_session", status["error"])


if __name__ == "__main__":
    os.chdir(HERE)
    unittest.main(verbosity=2)
