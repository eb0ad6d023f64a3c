#!/usr/bin/env python3
"""The S3 endpoint, driven by boto3, the aws CLI and a hand-made streaming client."""
import base64
import datetime
import hashlib
import hmac
import http.client
import io
import os
import pathlib
import subprocess
import sys
import threading
import unittest
import urllib.request

import botocore.exceptions

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from endpoint import ACCESS, SECRET, Objects  # noqa: E402

BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else "banyan"
HOSTILE = ["a b+c&d=e?f#g", "../../etc/passwd", "a//b", "/lead", "trail/", "é/ü/日本", "100%", "%2F", "a%20b", ".", "..",
           "x" * 1024, "quote\"'<>&", "tab\tnew", "~!*'()", "a/./b", "a/../b", "emoji😀"]


def code_of(call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


class ObjectsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = Objects(BINARY)
        cls.objects.__enter__()
        cls.s3 = cls.objects.client()

    @classmethod
    def tearDownClass(cls):
        cls.objects.__exit__()

    def setUp(self):
        self.bucket = "b-" + hashlib.md5(self.id().encode()).hexdigest()[:16]
        self.s3.create_bucket(Bucket=self.bucket)

    def put(self, key, body=b"content", **more):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key, **more):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)

    def test_put_get_head_delete(self):
        self.put("k", b"hello", ContentType="text/plain", CacheControl="no-cache", Metadata={"one": "1", "two-x": "b"})
        got = self.get("k")
        self.assertEqual(got["Body"].read(), b"hello")
        self.assertEqual(got["ETag"], '"%s"' % hashlib.md5(b"hello").hexdigest())
        self.assertEqual((got["ContentType"], got["CacheControl"], got["Metadata"]),
                         ("text/plain", "no-cache", {"one": "1", "two-x": "b"}))
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="k")["ContentLength"], 5)
        self.s3.delete_object(Bucket=self.bucket, Key="k")
        self.s3.delete_object(Bucket=self.bucket, Key="k")
        self.assertEqual(code_of(lambda: self.get("k")), "NoSuchKey")
        self.assertEqual(code_of(lambda: self.s3.head_object(Bucket=self.bucket, Key="k")), "404")

    def test_empty_object(self):
        self.put("empty", b"")
        self.assertEqual(self.get("empty")["Body"].read(), b"")

    def test_hostile_keys(self):
        for key in HOSTILE:
            self.put(key, key.encode())
            self.assertEqual(self.get(key)["Body"].read(), key.encode(), key)
        listed = [o["Key"] for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]]
        self.assertEqual(listed, sorted(HOSTILE, key=str.encode))
        for key in HOSTILE:
            self.s3.copy_object(Bucket=self.bucket, Key="copy/" + key[:900], CopySource={"Bucket": self.bucket, "Key": key})
        outside = [p for p in self.objects.dir.rglob("*") if "passwd" in p.name]
        self.assertEqual(outside, [])

    def test_ranges(self):
        self.put("r", b"0123456789")
        for asked, wanted in [("bytes=0-3", b"0123"), ("bytes=5-", b"56789"), ("bytes=-2", b"89"), ("bytes=8-99", b"89")]:
            got = self.get("r", Range=asked)
            self.assertEqual(got["Body"].read(), wanted)
            self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206)
        self.assertEqual(code_of(lambda: self.get("r", Range="bytes=10-")), "InvalidRange")

    def test_conditional_reads(self):
        etag = self.put("c", b"x")["ETag"]
        self.assertEqual(code_of(lambda: self.get("c", IfNoneMatch=etag)), "304")
        self.assertEqual(code_of(lambda: self.get("c", IfMatch='"other"')), "PreconditionFailed")
        later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        self.assertEqual(code_of(lambda: self.get("c", IfModifiedSince=later)), "304")
        self.assertEqual(self.get("c", IfMatch=etag)["Body"].read(), b"x")

    def conditional_put(self, key, body, header, value):
        def add(request, **_):
            request.headers[header] = value
        client = self.objects.client()
        client.meta.events.register("before-sign.s3.PutObject", add)
        return client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def test_conditional_writes(self):
        etag = self.conditional_put("w", b"1", "If-None-Match", "*")["ETag"]
        self.assertEqual(code_of(lambda: self.conditional_put("w", b"2", "If-None-Match", "*")), "PreconditionFailed")
        self.assertEqual(code_of(lambda: self.conditional_put("w", b"2", "If-Match", '"0"')), "PreconditionFailed")
        self.conditional_put("w", b"3", "If-Match", etag)
        self.assertEqual(self.get("w")["Body"].read(), b"3")

    def test_listing_with_delimiter_and_pages(self):
        keys = [f"d{i % 7}/f{i:04}" for i in range(300)] + [f"top{i}" for i in range(20)]
        for key in keys:
            self.put(key, b"")
        pages = self.s3.get_paginator("list_objects_v2")
        found = [o["Key"] for p in pages.paginate(Bucket=self.bucket, PaginationConfig={"PageSize": 13}) for o in p["Contents"]]
        self.assertEqual(found, sorted(keys))
        for name in ("list_objects_v2", "list_objects"):
            prefixes, tops = [], []
            for page in self.s3.get_paginator(name).paginate(Bucket=self.bucket, Delimiter="/", PaginationConfig={"PageSize": 5}):
                prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
                tops += [o["Key"] for o in page.get("Contents", [])]
            self.assertEqual(prefixes, [f"d{i}/" for i in range(7)])
            self.assertEqual(tops, sorted(k for k in keys if k.startswith("top")))
        inside = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="d3/", StartAfter="d3/f0100")
        self.assertEqual([o["Key"] for o in inside["Contents"]], [k for k in sorted(keys) if k.startswith("d3/") and k > "d3/f0100"])

    def test_delete_objects_copy_and_bucket_lifecycle(self):
        for i in range(30):
            self.put(f"k{i}")
        self.assertEqual(code_of(lambda: self.s3.delete_bucket(Bucket=self.bucket)), "BucketNotEmpty")
        self.put("src", b"data", Metadata={"m": "1"}, ContentType="a/b")
        self.s3.copy_object(Bucket=self.bucket, Key="dst", CopySource=f"{self.bucket}/src")
        self.s3.copy_object(Bucket=self.bucket, Key="dst2", CopySource=f"{self.bucket}/src", MetadataDirective="REPLACE", Metadata={"n": "2"})
        self.put("src", b"changed")
        self.assertEqual((self.get("dst")["Body"].read(), self.get("dst")["Metadata"], self.get("dst")["ContentType"]), (b"data", {"m": "1"}, "a/b"))
        self.assertEqual(self.get("dst2")["Metadata"], {"n": "2"})
        keys = [{"Key": o["Key"]} for o in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]]
        gone = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys})
        self.assertEqual(len(gone["Deleted"]), 33)
        self.assertEqual(code_of(lambda: self.s3.create_bucket(Bucket=self.bucket)), "BucketAlreadyOwnedByYou")
        self.s3.delete_bucket(Bucket=self.bucket)
        self.assertEqual(code_of(lambda: self.s3.head_bucket(Bucket=self.bucket)), "404")
        self.assertEqual(code_of(lambda: self.put("x")), "NoSuchBucket")
        self.assertNotIn(self.bucket, [b["Name"] for b in self.s3.list_buckets()["Buckets"]])
        self.assertIsNone(self.s3.create_bucket(Bucket=self.bucket) and None)
        self.assertIn("LocationConstraint", self.s3.get_bucket_location(Bucket=self.bucket))

    def test_multipart(self):
        parts = [os.urandom(5 << 20), os.urandom(5 << 20), b"tail"]
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="big", Metadata={"m": "x"})["UploadId"]
        where = {"Bucket": self.bucket, "Key": "big", "UploadId": upload}
        self.s3.upload_part(**where, PartNumber=2, Body=b"replaced")
        etags = [self.s3.upload_part(**where, PartNumber=i + 1, Body=p)["ETag"] for i, p in enumerate(parts)]
        self.assertEqual([p["Size"] for p in self.s3.list_parts(**where)["Parts"]], [len(p) for p in parts])
        self.assertEqual([u["UploadId"] for u in self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]], [upload])
        wrong = [{"PartNumber": 1, "ETag": '"0"'}]
        self.assertEqual(code_of(lambda: self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": wrong})), "InvalidPart")
        chosen = [{"PartNumber": i + 1, "ETag": e} for i, e in enumerate(etags)]
        self.assertEqual(code_of(lambda: self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": chosen[::-1]})), "InvalidPartOrder")
        done = self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": chosen})
        digest = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()
        self.assertEqual(done["ETag"], f'"{digest}-3"')
        got = self.get("big")
        self.assertEqual((got["Body"].read(), got["Metadata"]), (b"".join(parts), {"m": "x"}))
        self.assertEqual(self.get("big", Range="bytes=5242878-5242881")["Body"].read(), parts[0][-2:] + parts[1][:2])
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="big", PartNumber=3)["ContentLength"], 4)
        self.assertEqual(code_of(lambda: self.s3.list_parts(**where)), "NoSuchUpload")

        copy = {**where, "Key": "c", "UploadId": self.s3.create_multipart_upload(Bucket=self.bucket, Key="c")["UploadId"]}
        part = self.s3.upload_part_copy(**copy, PartNumber=1, CopySource=f"{self.bucket}/big", CopySourceRange="bytes=0-9")
        self.s3.complete_multipart_upload(**copy, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})
        self.assertEqual(self.get("c")["Body"].read(), parts[0][:10])
        other = self.s3.create_multipart_upload(Bucket=self.bucket, Key="a")["UploadId"]
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="a", UploadId=other)
        self.assertEqual(code_of(lambda: self.s3.abort_multipart_upload(Bucket=self.bucket, Key="a", UploadId=other)), "NoSuchUpload")

    def test_managed_transfer(self):
        data = os.urandom(20 << 20)
        self.s3.upload_fileobj(io.BytesIO(data), self.bucket, "t")
        out = io.BytesIO()
        self.s3.download_fileobj(self.bucket, "t", out)
        self.assertEqual(out.getvalue(), data)

    def test_presigned(self):
        put = self.objects.client(signature_version="s3v4").generate_presigned_url("put_object", {"Bucket": self.bucket, "Key": "p q"}, ExpiresIn=60)
        urllib.request.urlopen(urllib.request.Request(put, b"via url", method="PUT"))
        get = self.objects.client(signature_version="s3v4").generate_presigned_url(
            "get_object", {"Bucket": self.bucket, "Key": "p q", "ResponseContentDisposition": "attachment; x=y"}, ExpiresIn=60)
        with urllib.request.urlopen(get) as answer:
            self.assertEqual(answer.read(), b"via url")
            self.assertEqual(answer.headers["content-disposition"], "attachment; x=y")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(get.replace("p%20q", "other"))
        self.assertEqual(refused.exception.code, 403)

    def test_refuses_strangers(self):
        self.assertEqual(code_of(lambda: self.objects.client(secret="wrong").list_buckets()), "SignatureDoesNotMatch")
        self.assertEqual(code_of(lambda: self.objects.client(access="nobody").list_buckets()), "InvalidAccessKeyId")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{self.objects.url}/{self.bucket}")
        self.assertEqual(refused.exception.code, 403)
        self.assertIn(b"<Code>AccessDenied</Code>", refused.exception.read())

    def test_bad_digest(self):
        wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        self.assertEqual(code_of(lambda: self.put("d", b"x", ContentMD5=wrong)), "BadDigest")
        self.assertEqual(code_of(lambda: self.get("d")), "NoSuchKey")

    def test_concurrent_writers_never_mix(self):
        bodies = [bytes([65 + i]) * 300_000 for i in range(4)]

        def write(body):
            client = self.objects.client()
            for _ in range(10):
                client.put_object(Bucket=self.bucket, Key="one", Body=body)
        threads = [threading.Thread(target=write, args=(b,)) for b in bodies]
        [t.start() for t in threads]
        self.put("one", bodies[0])
        for _ in range(30):
            self.assertIn(self.get("one")["Body"].read(), bodies)
        [t.join() for t in threads]

    # Streaming bodies, signed and unsigned, as newer SDKs send them.
    def streamed(self, key, chunks, mode, trailer=b"", spoil=False):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        seal = lambda k, text: hmac.new(k, text.encode(), hashlib.sha256)  # noqa: E731
        signing = ("AWS4" + SECRET).encode()
        for piece in scope.split("/"):
            signing = seal(signing, piece).digest()
        headers = {"content-encoding": "aws-chunked", "host": f"127.0.0.1:{self.objects.port}", "x-amz-content-sha256": mode,
                   "x-amz-date": now, "x-amz-decoded-content-length": str(sum(map(len, chunks)))}
        names = ";".join(sorted(headers))
        canonical = "\n".join(["PUT", f"/{self.bucket}/{key}", "", *(f"{n}:{headers[n]}" for n in sorted(headers)), "", names, mode])
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        previous = seal(signing, text).hexdigest()
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope},SignedHeaders={names},Signature={previous}"
        body = b""
        for chunk in [*chunks, b""]:
            line = b"%x" % len(chunk)
            if not mode.endswith("UNSIGNED-PAYLOAD-TRAILER"):
                text = f"AWS4-HMAC-SHA256-PAYLOAD\n{now}\n{scope}\n{previous}\n{hashlib.sha256(b'').hexdigest()}\n{hashlib.sha256(chunk).hexdigest()}"
                previous = seal(signing, text).hexdigest()
                line += b";chunk-signature=" + previous.encode()
            body += line + b"\r\n" + ((chunk if not spoil else chunk[::-1]) + b"\r\n" if chunk else trailer + b"\r\n")
        connection = http.client.HTTPConnection("127.0.0.1", self.objects.port)
        connection.request("PUT", f"/{self.bucket}/{key}", body, headers)
        return connection.getresponse().status

    def test_streaming_bodies(self):
        chunks = [os.urandom(65536), os.urandom(65536), b"rest"]
        self.assertEqual(self.streamed("s", chunks, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), 200)
        self.assertEqual(self.get("s")["Body"].read(), b"".join(chunks))
        self.assertNotIn("ContentEncoding", self.get("s"))
        self.assertEqual(self.streamed("u", chunks, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", b"x-amz-checksum-crc32:AAAAAA==\r\n"), 200)
        self.assertEqual(self.get("u")["Body"].read(), b"".join(chunks))
        self.assertEqual(self.streamed("v", chunks, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", spoil=True), 403)
        self.assertEqual(code_of(lambda: self.get("v")), "NoSuchKey")

    def aws(self, *words):
        run = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.objects.url, *words], env=self.objects.environment(),
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    @unittest.skipUnless(os.path.exists("/usr/bin/aws"), "no aws CLI")
    def test_aws_cli(self):
        tree = self.objects.dir / "tree"
        (tree / "sub dir").mkdir(parents=True)
        for i in range(12):
            (tree / "sub dir" / f"ü{i}+.bin").write_bytes(os.urandom(1000 + i))
        (tree / "big").write_bytes(os.urandom(18 << 20))
        self.aws("s3", "mb", "s3://cli-bucket")
        self.aws("s3", "sync", str(tree), "s3://cli-bucket/t", "--no-progress")
        self.assertEqual(self.aws("s3", "sync", str(tree), "s3://cli-bucket/t", "--no-progress"), "")
        self.aws("s3", "cp", "s3://cli-bucket/t/big", "s3://cli-bucket/copy", "--no-progress")
        back = self.objects.dir / "back"
        self.aws("s3", "sync", "s3://cli-bucket/t", str(back), "--no-progress")
        self.assertEqual(subprocess.run(["diff", "-r", tree, back]).returncode, 0)
        self.assertIn("PRE t/", self.aws("s3", "ls", "s3://cli-bucket"))
        self.aws("s3", "mv", "s3://cli-bucket/copy", "s3://cli-bucket/moved", "--no-progress")
        self.aws("s3", "rb", "s3://cli-bucket", "--force")


class DurabilityTest(unittest.TestCase):
    def test_acknowledged_objects_survive_kill(self):
        with Objects(BINARY) as objects:
            objects.client().create_bucket(Bucket="bucket")
            known = {}
            for life in range(3):
                self.write_until_killed(objects, life, known)
                objects.start()
                client = objects.client()
                for key, body in known.items():
                    self.assertEqual(client.get_object(Bucket="bucket", Key=key)["Body"].read(), body)
                files = [p for p in (objects.dir / "root/data").rglob("*") if p.is_file()]
                listed = [o for p in client.get_paginator("list_objects_v2").paginate(Bucket="bucket") for o in p.get("Contents", [])]
                self.assertEqual(len(files), len(listed))

    def write_until_killed(self, objects, life, known):
        def write(lane):
            client = objects.client()
            for i in range(10_000):
                body = os.urandom(20_000)
                try:
                    client.put_object(Bucket="bucket", Key=f"{life}-{lane}-{i}", Body=body)
                except botocore.exceptions.BotoCoreError:
                    return
                known[f"{life}-{lane}-{i}"] = body
                enough.set() if len(known) >= 60 * (life + 1) else None
        enough = threading.Event()
        threads = [threading.Thread(target=write, args=(lane,)) for lane in range(3)]
        [t.start() for t in threads]
        enough.wait(60)
        objects.kill()
        [t.join() for t in threads]


if __name__ == "__main__":
    unittest.main(warnings="ignore")
