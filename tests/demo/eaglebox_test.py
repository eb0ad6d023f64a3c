#!/usr/bin/python3
"""Eaglebox, the load and the ledger's checker on a real PostgreSQL: the proof of the demo must itself be able to fail."""
import asyncio
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
import ledger  # noqa: E402
import psycopg2  # noqa: E402
from eaglebox_client import Browser, open_http  # noqa: E402

PASSWORD = "eaglebox"


class Eaglebox(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = tempfile.mkdtemp(prefix="banyan-eaglebox-")
        cls.world = demo_world.World(f"{cls.base}/demo", types.SimpleNamespace(documents=60, people=20))
        cls.addClassCleanup(shutil.rmtree, cls.base, ignore_errors=True)
        cls.addClassCleanup(demo_world.clean, cls.world.directory)
        cls.world.create()
        cls.world.start_old()
        cls.url = f"http://127.0.0.1:{cls.world.old_port}"
        cls.ledger, cls.summary = cls.world.directory / "ledger.jsonl", cls.world.directory / "load.json"
        subprocess.run(["/usr/bin/python3", ROOT / "tests/lib/load.py", "--url", cls.url, "--ledger", cls.ledger,
                        "--summary", cls.summary, "--users", "10", "--rate", "12", "--seconds", "6"], check=True)

    def sql(self, statement, *values):
        connection = psycopg2.connect(self.world.old.url())
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def check(self):
        async def run():
            async with open_http() as http:
                browser = Browser(http, self.url, demo_world.HOST, lambda *_: None)
                self.assertTrue(await browser.log_in("user000", PASSWORD))

                async def fetch(pk):
                    answer = await browser.request("check", "GET", f"/documents/{pk}/download")
                    if answer.status != 200:
                        raise RuntimeError(f"status {answer.status}")
                    return answer.body

                names = [str(path) for path in self.world.media.rglob("*") if path.is_file()]
                return await ledger.check(self.ledger, self.world.old.url(), fetch, names)

        return asyncio.run(run())

    def a_write(self, number=0):
        """(key, path of its file) of an acknowledged upload."""
        keys = sorted(key for key, write in ledger.read(self.ledger).items() if write.acknowledged)
        [(name,)] = self.sql("SELECT file FROM documents_document WHERE upload_key = %s", keys[number])
        return keys[number], self.world.media / name

    def test_a_quiet_run_loses_nothing(self):
        verdict = self.check()
        self.assertTrue(verdict.ok(), verdict)
        self.assertGreater(verdict.acknowledged, 0)
        self.assertEqual(verdict.files_compared, verdict.acknowledged)
        seen = json.loads(self.summary.read_text())
        self.assertEqual((seen["failed_requests"], seen["logged_out_users"]), (0, 0))
        self.assertEqual(seen["acknowledged_writes"], verdict.acknowledged)

    def test_a_missing_row_is_lost(self):
        key, _ = self.a_write()
        self.sql("UPDATE documents_document SET upload_key = 'hidden' WHERE upload_key = %s", key)
        try:
            self.assertIn(key, self.check().lost[0])
        finally:
            self.sql("UPDATE documents_document SET upload_key = %s WHERE upload_key = 'hidden'", key)

    def test_a_missing_file_is_lost(self):
        key, path = self.a_write()
        path.rename(path.with_name("away"))
        try:
            self.assertTrue(any(key in line for line in self.check().lost))
        finally:
            path.with_name("away").rename(path)

    def test_other_content_is_lost(self):
        key, path = self.a_write(1)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"!")
        try:
            self.assertIn("content differs", self.check().lost[0])
        finally:
            path.write_bytes(content)

    def test_a_second_file_or_attempt_is_a_duplicate(self):
        key, path = self.a_write()
        second = path.with_name(f"{key}-note_2.txt")
        shutil.copy(path, second)
        try:
            self.assertIn("2 files", self.check().duplicated[0])
        finally:
            second.unlink()

    def test_a_row_nobody_sent_is_noticed(self):
        self.sql("UPDATE documents_document SET upload_key = 'load-phantom' WHERE upload_key = 'seed-000001'")
        try:
            self.assertEqual(self.check().unsent, ["load-phantom"])
        finally:
            self.sql("UPDATE documents_document SET upload_key = 'seed-000001' WHERE upload_key = 'load-phantom'")

    def test_the_same_key_twice_is_refused_and_leaves_one_document(self):
        fields = {"title": "Twice", "client": "C", "case_ref": "C-1", "tags": "a, b", "upload_key": "twice"}

        async def run():
            async with open_http() as http:
                browser = Browser(http, self.url, demo_world.HOST, lambda *_: None)
                await browser.log_in("user001", PASSWORD)
                first, _ = await browser.upload(fields, "note.txt", b"one")
                second, _ = await browser.upload(fields, "note.txt", b"one")
                return first.status, second.status

        self.assertEqual(asyncio.run(run()), (302, 409))
        files = [path for path in self.world.media.rglob("twice-*")]
        self.assertEqual(len(files), 1)
        [(attempts,)] = self.sql("SELECT count(*) FROM documents_auditentry WHERE upload_key = 'twice'")
        self.assertEqual(attempts, 2)

    def test_nobody_sees_documents_without_logging_in(self):
        async def run():
            async with open_http() as http:
                browser = Browser(http, self.url, demo_world.HOST, lambda *_: None)
                return [await browser.request("x", "GET", path) for path in ("/", "/search", "/documents/1/download")]

        self.assertTrue(all(answer.to_login() for answer in asyncio.run(run())))


if __name__ == "__main__":
    unittest.main()
