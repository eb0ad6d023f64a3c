"""`banyan objects` as a context manager: a private directory, a free port, kill -9 and restart."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.client

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from ports import free_port  # noqa: E402

ACCESS, SECRET = "banyan-test", "a secret/with+signs"


class Objects:
    def __init__(self, binary):
        self.binary = str(pathlib.Path(binary).resolve())
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="banyan-objects-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def __enter__(self):
        (self.dir / "secret").write_text(SECRET + "\n")
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.dir)

    def start(self):
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            [self.binary, "objects", "--listen", f"127.0.0.1:{self.port}", "--root", str(self.dir / "root"),
             "--access-key", ACCESS, "--secret-key-file", str(self.dir / "secret")], stdout=log, stderr=log)
        for _ in range(600):
            assert self.process.poll() is None, (self.dir / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("the endpoint does not listen")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def client(self, access=ACCESS, secret=SECRET, **config):
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=access, aws_secret_access_key=secret,
            region_name="us-east-1",
            config=botocore.client.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}, **config))

    def environment(self):
        return {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
