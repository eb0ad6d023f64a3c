"""Real servers for integration tests: PostgreSQL and Redis clusters in private temporary directories, and
Banyan roles spoken to over their Unix sockets. Everything is a context manager and leaves nothing behind.

    with Postgres() as source, Postgres(settings={"DateStyle": "SQL, DMY"}) as target:
        with source.connect() as db, db.cursor() as cursor: ...
"""
import contextlib
import glob
import http.client
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from ports import free_port  # noqa: E402

WAIT_S = 120  # a guard against hanging, never an assertion about speed


def eventually(ready, what, timeout_s=WAIT_S, pause_s=0.02):
    """The first true value of ready(); raises when `timeout_s` passed without one."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := ready():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"gave up waiting for {what}")
        time.sleep(pause_s)


def _stop(process, how=signal.SIGTERM, timeout_s=30):
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Postgres:
    """One server with logical decoding on, superuser `postgres`, trust authentication on 127.0.0.1."""

    SETTINGS = {
        "wal_level": "logical", "fsync": "off", "full_page_writes": "off", "max_wal_senders": "20",
        "max_replication_slots": "20", "max_connections": "120", "shared_buffers": "32MB",
        "max_prepared_transactions": "5", "listen_addresses": "127.0.0.1", "timezone": "UTC",
        "log_min_messages": "warning", "autovacuum_naptime": "5s",
    }

    def __init__(self, settings=None, binaries=None, user="postgres"):
        self.settings = {**self.SETTINGS, **(settings or {})}
        self.user = user
        newest = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self.binaries = binaries or os.environ.get("BANYAN_PG_BIN") or (newest[-1] if newest else "")
        self.initdb_options = ()
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="banyan-pg-")
        self.data = os.path.join(self.directory, "data")
        self.log = open(os.path.join(self.directory, "log"), "ab")
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        try:
            self._run("initdb", "-D", self.data, "-U", self.user, "-A", "trust", "-E", "UTF8",
                      "--locale=C.UTF-8", "--no-sync", *self.initdb_options)
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        _stop(self.process, signal.SIGQUIT)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _identity(self):
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def _run(self, tool, *arguments):
        subprocess.run([*self._identity(), os.path.join(self.binaries, tool), *arguments], check=True,
                       stdout=self.log, stderr=self.log, cwd="/")

    def start(self):
        options = [piece for name, value in self.settings.items() for piece in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [*self._identity(), os.path.join(self.binaries, "postgres"), "-D", self.data, "-p", str(self.port),
             "-k", self.directory, *options], stdout=self.log, stderr=self.log, cwd="/")
        eventually(self._answers, "postgres to start")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("postgres died at start: " + self.log_tail())
        try:
            self.connect().close()
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self):
        """As an administrator does it (`fast`). A server that somebody keeps from stopping is a failure."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT_S)

    def kill9(self):
        """As a power cut: the postmaster and all of its children, at once."""
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True,
                                  text=True).stdout.split()
        self.process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.process.wait()
        # The next postmaster refuses to start while one of them still holds the shared memory.
        eventually(lambda: not any(os.path.exists(f"/proc/{child}") for child in children), "the children's end")
        for name in ("postmaster.pid",):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.data, name))

    def restart(self):
        self.stop()
        self.start()

    def url(self, database="postgres", user=None):
        return f"postgresql://{user or self.user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="postgres", user=None, autocommit=True):
        connection = psycopg2.connect(self.url(database, user), connect_timeout=10)
        connection.autocommit = autocommit
        return connection

    def create_database(self, name):
        self.run(f'create database "{name}"')

    def run(self, sql, database="postgres", user=None):
        """Runs a script (autocommit); the rows of its last statement, or None when it has none."""
        connection = self.connect(database, user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def value(self, sql, database="postgres"):
        rows = self.run(sql, database)
        return rows[0][0] if rows else None

    def psql(self, script, database="postgres"):
        """Runs a script through psql, statement by statement, stopping at the first error."""
        done = subprocess.run([os.path.join(self.binaries, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1",
                               self.url(database)], input=script, text=True, capture_output=True, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{done.stderr}\nin script:\n{script}")
        return done.stdout

    def log_tail(self, lines=30):
        text = pathlib.Path(self.directory, "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Redis:
    """One redis-server without persistence; `url` and `client()`."""

    def __init__(self, *options):
        self.port = free_port()
        self.options = options
        self.process = None

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="banyan-redis-")
        self.start()
        return self

    def __exit__(self, *_):
        _stop(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir",
             self.directory, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, "redis to start")

    def stop(self):
        _stop(self.process)

    def kill9(self):
        _stop(self.process, signal.SIGKILL)

    def restart(self):
        self.stop()
        self.start()

    def _answers(self):
        import redis
        try:
            return self.client().ping()
        except redis.exceptions.ConnectionError:
            return False

    def url(self, database=0):
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database=0):
        import redis
        return redis.Redis(port=self.port, db=database)


class RpcError(Exception):
    def __init__(self, verb, status, body):
        self.code = body.get("code", "internal")
        self.remedy = body.get("remedy", "")
        super().__init__(f"{verb}: {status} {self.code}: {body.get('message', body)}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def rpc(path, verb, body=None, timeout_s=WAIT_S):
    """One verb of a role: POST /v1/<verb> on its Unix socket."""
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request("POST", f"/v1/{verb}", json.dumps(body or {}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        parsed = json.loads(text) if text else {}
        if answer.status != 200:
            raise RpcError(verb, answer.status, parsed)
        return parsed
    finally:
        connection.close()


class Banyan:
    """One role process: `banyan <role> --socket <s> --state-dir <d>`; the state survives kill9 and start."""

    args = ()  # further ones of the command line

    def __init__(self, binary, role, directory=None):
        self.binary, self.role = os.path.abspath(binary), role
        self.directory = directory
        self.owns_directory = directory is None
        self.process = None

    def __enter__(self):
        if self.owns_directory:
            self.directory = tempfile.mkdtemp(prefix=f"banyan-{self.role}-")
        self.socket = os.path.join(self.directory, "socket")
        self.log_path = os.path.join(self.directory, "role.log")
        self.start()
        return self

    def __exit__(self, *_):
        _stop(self.process)
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        state = os.path.join(self.directory, "state")
        os.makedirs(state, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary, self.role, "--socket", self.socket, "--state-dir", state,
                                             *self.args],
                                            stdout=log, stderr=log, cwd=self.directory)
        eventually(self._answers, f"role {self.role}")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"role {self.role} died at start: {self.log_tail()}")
        with contextlib.suppress(OSError):
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(self.socket)
                return True
            finally:
                probe.close()
        return False

    def stop(self):
        _stop(self.process)

    def kill9(self):
        _stop(self.process, signal.SIGKILL)

    def restart(self):
        self.stop()
        self.start()

    def call(self, verb, timeout_s=WAIT_S, **body):
        if verb == "start":  # the same test under other settings of the role
            body.get("config", {}).update(json.loads(os.environ.get("BANYAN_START_CONFIG", "{}")))
        return rpc(self.socket, verb, body, timeout_s)

    def log_tail(self, lines=40):
        return "\n".join(pathlib.Path(self.log_path).read_text(errors="replace").splitlines()[-lines:])
