#!/usr/bin/env python3
"""A real directory and a real endpoint, driven through the agent: nothing is lost, torn or wrongly deleted."""
import hashlib
import mmap
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "objects"))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "lib"))
from cluster import Banyan, RpcError, eventually  # noqa: E402
from endpoint import ACCESS, SECRET, Objects  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "banyan"
WAIT_MS = 120_000
NAMES = [b"plain.txt", b"with space+plus&amp.txt", b"100%", b"%41", b"%zz", b"bad\xff\xfeutf8", b"new\nline", b"tab\t",
         "ü日本😀.png".encode(), b"-dash", b"quote\"'<>", b"a" * 255, b".hidden", b"back\\slash", b"\x7fdel", b"\xc0\xaf", b"trail."]


class FilesTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="banyan-files-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.root = self.dir / "media"
        self.root.mkdir()
        self.objects = self.enterContext(Objects(BINARY))
        self.agent = self.enterContext(Banyan(BINARY, "agent"))
        self.s3 = self.objects.client()

    def start(self, **more):
        return self.call("start", path=str(self.root), endpoint=self.objects.url, bucket="media", prefix="m/",
                         region="us-east-1", access_key=ACCESS, secret_key=SECRET, **more)

    def call(self, verb, **body):
        return self.agent.call(f"files.{verb}", timeout_s=200, name="media", **body)

    def status(self):
        return self.call("status")

    def barrier(self):
        return self.call("barrier", timeout_ms=WAIT_MS)

    def verify(self):
        report = self.call("verify", wait_ms=WAIT_MS)
        while report["state"] == "running":
            report = self.call("verify", wait_ms=WAIT_MS)
        return report

    def assert_equal_sides(self):
        report = self.verify()
        self.assertEqual((report["state"], report["different"]), ("equal", []))
        self.assertEqual(self.bucket_contents(), self.disk_contents())
        return report

    def disk_contents(self):
        found = []
        for directory, _, names in os.walk(bytes(self.root)):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    found.append(hashlib.md5(open(path, "rb").read()).hexdigest())
        return sorted(found)

    def bucket_contents(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="media")
        keys = [o["Key"] for page in pages for o in page.get("Contents", [])]
        return sorted(hashlib.md5(self.s3.get_object(Bucket="media", Key=k)["Body"].read()).hexdigest() for k in keys)

    def keys(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="media")
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def fill(self, count, size=2000, below="d"):
        for i in range(count):
            path = self.root / f"{below}{i % 10}" / f"f{i}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(size))

    def test_mirrors_hostile_names_and_live_changes(self):
        for name in NAMES:
            with open(os.path.join(bytes(self.root), name), "wb") as file:
                file.write(b"content of " + name)
        (self.root / "empty").touch()
        (self.root / "link").symlink_to("/etc/passwd")
        os.mkfifo(self.root / "pipe")
        (self.root / "big").write_bytes(os.urandom(20 << 20))
        self.start()
        self.start()
        self.barrier()
        self.assertEqual(self.assert_equal_sides()["files"], len(NAMES) + 2)
        self.assertIn("m/plain.txt", self.keys())
        self.assertIn("m/100%", self.keys())
        self.assertIn("m/%2541", self.keys())

        (self.root / "plain.txt").write_bytes(b"changed")
        (self.root / "empty").unlink()
        deep = self.root / "new" / "deep" / "er"
        deep.mkdir(parents=True)
        (deep / "x").write_bytes(b"deep")
        os.rename(self.root / "new", self.root / "moved")
        self.barrier()
        self.assert_equal_sides()
        self.assertIn("m/moved/deep/er/x", self.keys())
        self.assertNotIn("m/new/deep/er/x", self.keys())
        status = self.status()
        self.assertEqual((status["state"], status["dirty"], status["direction"]), ("watching", 0, "to_bucket"))
        self.assertEqual([p for p in os.listdir(self.root) if p.startswith(".banyan")], [])
        head = self.s3.head_object(Bucket="media", Key="m/plain.txt")
        self.assertEqual(head["ContentType"], "text/plain")
        self.assertAlmostEqual(float(head["Metadata"]["mtime"]), (self.root / "plain.txt").stat().st_mtime, places=3)

    def test_same_size_and_mtime_edit_is_seen(self):
        path = self.root / "f"
        path.write_bytes(b"one")
        self.start()
        self.barrier()
        self.agent.kill9()
        before = path.stat()
        path.write_bytes(b"two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.agent.start()
        self.barrier()
        self.assertEqual(self.s3.get_object(Bucket="media", Key="m/f")["Body"].read(), b"two")

    def test_storm_of_renames_and_new_directories(self):
        self.fill(100)
        self.start()
        stop = threading.Event()

        def storm(seed):
            chance = random.Random(seed)
            for i in range(400):
                if stop.is_set():
                    return
                here = self.root / f"s{seed}-{chance.randrange(5)}" / f"t{chance.randrange(5)}"
                here.mkdir(parents=True, exist_ok=True)
                (here / f"f{chance.randrange(20)}").write_bytes(os.urandom(chance.randrange(3000)))
                a, b = (self.root / f"s{seed}-{chance.randrange(7)}" for _ in range(2))
                if a != b and a.exists():
                    if b.exists():
                        shutil.rmtree(b)
                    os.rename(a, b)
        threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.barrier()
        self.assert_equal_sides()

    def test_a_file_being_written_is_never_torn(self):
        self.start()
        self.barrier()
        path = self.root / "hot"
        stop = threading.Event()

        def rewrite():
            number = 0
            while not stop.is_set():
                number = (number + 1) % 256
                with open(path, "r+b" if path.exists() else "wb") as file:
                    for _ in range(16):
                        file.write(bytes([number]) * 65536)
                        file.flush()
                if number % 8 == 0:
                    time.sleep(0.1)
        writer = threading.Thread(target=rewrite)
        writer.start()
        seen = set()
        for _ in range(400):
            if len(seen) >= 3:
                break
            if "m/hot" in self.keys():
                body = self.s3.get_object(Bucket="media", Key="m/hot")["Body"].read()
                self.assertEqual((len(body), len(set(body))), (1 << 20, 1))
                seen.add(body[0])
            time.sleep(0.05)
        stop.set()
        writer.join()
        self.assertGreater(len(seen), 0)
        self.barrier()
        self.assert_equal_sides()

    def test_a_file_that_stays_open_does_not_block_the_barrier(self):
        self.start()
        with open(self.root / "log", "wb") as log:
            log.write(b"a line")
            log.flush()
            self.barrier()
            self.assert_equal_sides()
            log.write(b"and more")
            log.flush()
            self.barrier()
            self.assert_equal_sides()

    def test_survives_two_kills_and_resumes_parts(self):
        self.fill(400, size=10_000)
        (self.root / "large").write_bytes(os.urandom(60 << 20))
        self.start()
        for least in (50, 150):
            eventually(lambda: self.status()["files_done"] >= least, "progress")
            self.agent.kill9()
            (self.root / f"while-dead-{least}").write_bytes(b"x")
            self.agent.start()
        self.barrier()
        self.assert_equal_sides()
        self.assertEqual(self.s3.list_multipart_uploads(Bucket="media").get("Uploads", []), [])

    def test_endpoint_killed_and_restarted(self):
        self.fill(300)
        self.start()
        eventually(lambda: self.status()["files_done"] >= 20, "progress")
        self.objects.kill()
        self.fill(100, below="later")
        with self.assertRaises(RpcError) as refused:
            self.call("barrier", timeout_ms=500)
        self.assertEqual(refused.exception.code, "timeout")
        eventually(lambda: "error" in self.status(), "the error in the status")
        self.objects.start()
        self.barrier()
        self.assert_equal_sides()
        self.assertNotIn("error", self.status())

    def test_overflow_is_repaired(self):
        self.fill(50)
        self.start()
        self.barrier()
        self.agent.process.send_signal(signal.SIGSTOP)
        try:
            for i in range(20_000):
                path = self.root / f"d{i % 10}" / f"f{i % 50}.bin"
                os.chmod(path, 0o600 + i % 3)
            (self.root / "d2" / "f2.bin").write_bytes(b"changed unseen")
            (self.root / "late" / "dir").mkdir(parents=True)
            (self.root / "late" / "dir" / "file").write_bytes(b"after the overflow")
            (self.root / "d1" / "f1.bin").unlink()
        finally:
            self.agent.process.send_signal(signal.SIGCONT)
        self.barrier()
        self.assert_equal_sides()
        self.assertIn("comparing everything", self.agent.log_tail(500))
        (self.root / "late" / "dir" / "more").write_bytes(b"still watched")
        self.barrier()
        self.assert_equal_sides()

    def test_verify_finds_a_changed_byte_on_either_side(self):
        self.fill(30)
        (self.root / "large").write_bytes(os.urandom(18 << 20))
        self.start()
        self.barrier()
        self.assert_equal_sides()
        self.s3.put_object(Bucket="media", Key="m/d3/f3.bin", Body=os.urandom(2000))
        self.s3.put_object(Bucket="media", Key="m/extra", Body=b"x")
        self.s3.delete_object(Bucket="media", Key="m/d4/f4.bin")
        with open(self.root / "large", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[9 << 20] ^= 1  # through a mapping: no event, and no new time before it is written back
        report = self.verify()
        self.assertEqual(report["state"], "different")
        found = {d["path"] for d in report["different"]}
        self.assertLessEqual({"d3/f3.bin", "extra", "d4/f4.bin"}, found)

    def test_verify_waits_for_what_is_on_its_way(self):
        """Straight after a burst, and all through one, files still being carried are not differences; in both directions."""
        self.fill(500)
        self.start()
        self.assertEqual(self.verify()["state"], "equal", "files are still being uploaded")
        self.barrier()
        self.call("direction", direction="to_disk")
        for i in range(200):
            self.s3.put_object(Bucket="media", Key=f"m/burst/{i}", Body=os.urandom(5000))
        report = self.verify()
        self.assertEqual((report["state"], report["different"]), ("equal", []))
        self.assertEqual(report["files"] >= 500, True)
        stop = threading.Event()

        def write():
            chance = random.Random(7)
            for i in range(10**6):
                if stop.is_set():
                    return
                key = f"m/live/{chance.randrange(40)}"
                if chance.random() < 0.1:
                    self.s3.delete_object(Bucket="media", Key=key)
                else:
                    self.s3.put_object(Bucket="media", Key=key, Body=b"x" * chance.randrange(1, 5000))
                time.sleep(0.02)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            states = []
            for _ in range(6):
                report = self.verify()
                states.append((report["state"], report["different"]))
        finally:
            stop.set()
            writer.join()
        self.assertEqual(states, [("equal", [])] * 6)
        self.assert_equal_sides()

    def test_verify_shows_both_sides_of_a_difference_during_write_back(self):
        self.fill(20)
        self.start()
        self.barrier()
        self.call("direction", direction="to_disk")
        self.barrier()
        self.s3.delete_objects(Bucket="media", Delete={"Objects": [{"Key": k} for k in self.keys()]})
        eventually(lambda: self.status()["held_deletes"] == 20, "held deletes")
        report = self.verify()
        self.assertEqual((report["state"], report["different_total"], report["unsettled_total"]), ("different", 20, 0))
        one = report["different"][0]
        self.assertEqual((one["why"], one["bucket"]), ("only on disk", "nothing"))
        self.assertIn("2000 bytes", one["disk"])

    def test_emptied_and_lost_roots_delete_nothing(self):
        self.fill(200)
        self.start()
        self.barrier()
        before = self.keys()
        os.rename(self.root, self.dir / "away")
        eventually(lambda: self.status()["state"] == "failed", "failed")
        self.assertIn("gone", self.status()["error"])
        self.assertEqual(self.keys(), before)
        os.rename(self.dir / "away", self.root)
        eventually(lambda: self.status()["state"] == "watching", "watching")
        self.barrier()
        self.assert_equal_sides()

        self.agent.kill9()
        os.rename(self.root, self.dir / "away")
        self.root.mkdir()
        self.agent.start()
        eventually(lambda: self.status()["held_deletes"] == 200, "held deletes")
        with self.assertRaises(RpcError) as refused:
            self.barrier()
        self.assertEqual(refused.exception.code, "conflict")
        self.assertEqual(self.keys(), before)

    def test_mass_deletes_wait_for_confirmation(self):
        self.fill(300)
        self.start()
        self.barrier()
        self.agent.kill9()
        for i in range(5):
            shutil.rmtree(self.root / f"d{i}")
        self.agent.start()
        eventually(lambda: self.status()["held_deletes"] == 150, "held deletes")
        self.assertEqual(len(self.keys()), 300)
        self.start(confirm_deletes=10)
        self.assertEqual(self.status()["held_deletes"], 150)
        self.start(confirm_deletes=150)
        self.barrier()
        self.assert_equal_sides()
        shutil.rmtree(self.root / "d7")
        self.barrier()
        self.assert_equal_sides()

    def test_direction_switches_and_switches_again(self):
        self.fill(60)
        os.chmod(self.root / "d1", 0o750)
        self.start()
        for turn in range(2):
            self.barrier()
            self.call("direction", direction="to_disk")
            self.call("direction", direction="to_disk")
            for i in range(40):
                self.s3.put_object(Bucket="media", Key=f"m/n{turn}/ü {i}", Body=os.urandom(5000), Metadata={"mtime": "1234567890.5"})
            self.s3.put_object(Bucket="media", Key="m/d1/f1.bin", Body=b"from the bucket %d" % turn)
            self.s3.delete_object(Bucket="media", Key=f"m/d2/f{2 + 10 * turn}.bin")
            self.s3.upload_file(str(self.dir / "multi"), "media", "m/multi") if self.make_multi() else None
            if turn == 1:
                self.agent.kill9()
                self.agent.start()
            self.assertTrue(self.barrier()["drained"])
            self.assert_equal_sides()
            self.assertEqual(self.status()["direction"], "to_disk")
            self.assertEqual((self.root / "d1/f1.bin").read_bytes(), b"from the bucket %d" % turn)
            self.assertFalse((self.root / f"d2/f{2 + 10 * turn}.bin").exists())
            self.assertEqual((self.root / f"n{turn}/ü 3").stat().st_mtime, 1234567890.5)
            self.call("direction", direction="to_bucket")
            (self.root / "d1" / f"local{turn}").write_bytes(b"local again")
            self.barrier()
            self.assert_equal_sides()
            self.assertIn(f"m/d1/local{turn}", self.keys())

    def make_multi(self):
        (self.dir / "multi").write_bytes(os.urandom(17 << 20))
        return True

    def test_write_back_never_leaves_the_root(self):
        (self.dir / "outside").mkdir()
        (self.root / "link").symlink_to(self.dir / "outside")
        (self.root / "f").write_bytes(b"x")
        self.start()
        self.barrier()
        self.call("direction", direction="to_disk")
        for key in ("m/link/evil", "m/../evil", "m//evil", "m/a/../../evil", "m/%2e%2e/evil", "m/%2F"):
            self.s3.put_object(Bucket="media", Key=key, Body=b"evil")
        self.s3.put_object(Bucket="media", Key="m/good", Body=b"good")
        eventually(lambda: (self.root / "good").exists(), "the good file")
        eventually(lambda: len(self.status()["problems"]) >= 4, "problems")
        self.assertEqual([p for p in self.dir.rglob("evil")], [])

    def test_an_upload_whose_beginning_was_not_noted_is_ended(self):
        checkpoints = self.dir / "checkpoints"
        checkpoints.mkdir()
        self.agent.kill9()
        with unittest.mock.patch.dict(os.environ, BANYAN_CHECKPOINTS=str(checkpoints)):
            self.agent.start()
        (checkpoints / "upload.created").write_text("kill")
        (self.root / "large").write_bytes(os.urandom(40 << 20))
        self.start()
        eventually(lambda: self.agent.process.poll() is not None, "the death")
        self.assertEqual(len(self.s3.list_multipart_uploads(Bucket="media")["Uploads"]), 1)
        self.agent.start()
        self.barrier()
        self.assert_equal_sides()
        self.assertEqual(self.s3.list_multipart_uploads(Bucket="media").get("Uploads", []), [])

    def test_emptied_bucket_deletes_nothing_on_disk(self):
        self.fill(40)
        self.start()
        self.barrier()
        self.call("direction", direction="to_disk")
        self.s3.delete_objects(Bucket="media", Delete={"Objects": [{"Key": k} for k in self.keys()]})
        eventually(lambda: self.status()["held_deletes"] == 40, "held deletes")
        self.assertEqual(len(self.disk_contents()), 40)

    def test_discard_removes_what_was_uploaded_and_nothing_else(self):
        self.fill(30)
        (self.root / "large").write_bytes(os.urandom(40 << 20))
        self.start()
        self.barrier()
        self.s3.put_object(Bucket="media", Key="m/d3/f3.bin", Body=b"changed by somebody")
        self.s3.put_object(Bucket="media", Key="m/others", Body=b"x")
        (self.root / "large").write_bytes(os.urandom(40 << 20))  # perhaps caught with half of its parts
        report = self.call("discard")
        self.assertEqual((report["kept"], report["done"]), (1, True))
        self.assertLessEqual(set(self.keys()), {"m/d3/f3.bin", "m/others", "m/large"})
        self.assertEqual(self.s3.list_multipart_uploads(Bucket="media").get("Uploads", []), [])
        self.call("discard")
        self.call("stop")
        self.assertLessEqual({"m/d3/f3.bin", "m/others"}, set(self.keys()))
        self.assertEqual(len(self.disk_contents()), 31)

    def test_discard_keeps_a_bucket_that_was_written_back(self):
        self.fill(10)
        self.start()
        self.barrier()
        self.call("direction", direction="to_disk")
        self.barrier()
        self.call("direction", direction="to_bucket")
        self.assertEqual(self.call("discard"), {"removed": 0, "kept": 10, "done": True})
        self.assertEqual(len(self.keys()), 10)

    def test_stop_keeps_the_manifest(self):
        self.fill(50)
        self.start()
        self.barrier()
        self.call("stop")
        self.call("stop")
        with self.assertRaises(RpcError):
            self.status()
        self.start()
        self.barrier()
        self.assertEqual(self.status()["files_done"], 50)
        with self.assertRaises(RpcError):
            self.agent.call("files.start", name="other", path=str(self.dir / "nowhere"), endpoint=self.objects.url,
                            bucket="b", access_key="a", secret_key="s")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
