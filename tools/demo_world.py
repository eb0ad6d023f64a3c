"""The world of the demo: OLD (PostgreSQL, the Eaglebox monolith, its files), the NEW PostgreSQL and Redis, and the
banyan.yaml that joins them. Everything lives in one private directory and carries one mark in its environment, so that
`stop` ends exactly these processes, whoever started them."""
import contextlib
import glob
import json
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from ports import free_port

ROOT = pathlib.Path(__file__).resolve().parent.parent
EAGLEBOX = ROOT / "examples" / "eaglebox"
PYTHON = "/usr/bin/python3"
HOST = "docs.example"
ZONES = {"a": "127.0.1.", "b": "127.0.2.", "c": "127.0.3."}
MARK = "BANYAN_DEMO_DIRECTORY"
WAIT_S = 60


class DemoError(Exception):
    """Something of the demo did not work; the text is for the person who runs it."""


def default_directory():
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return pathlib.Path(state) / "banyan-demo"


def wait_until(ready, what, timeout_s=WAIT_S):
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise DemoError(f"gave up after {timeout_s} s waiting for {what}")
        time.sleep(0.05)


def answers_http(url, host=HOST):
    request = urllib.request.Request(url, headers={"Host": host})
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(request, timeout=2) as response:
            return response.status == 200
    return False


# ---- processes ----------------------------------------------------------------------------------

def marked_processes(directory):
    """Every process that was started for the demo in `directory`, by this run or an earlier one."""
    mark, path = f"{MARK}={directory}".encode(), f"{directory}/".encode()
    found = []
    for entry in glob.glob("/proc/[0-9]*"):
        pid = int(entry.rsplit("/", 1)[1])
        with contextlib.suppress(OSError):
            environment = pathlib.Path(entry, "environ").read_bytes().split(b"\0")
            command = pathlib.Path(entry, "cmdline").read_bytes()
            ours = mark in environment or (path in command and b"banyan" in command.split(b"\0")[0])
            if ours and pid not in (os.getpid(), os.getppid()):
                found.append(pid)
    return found


def end_marked(directory, timeout_s=15):
    """SIGTERM, then SIGKILL, to the marked processes until none is left. Supervisors go first: none restarts another."""
    for pid in marked_processes(directory):
        with contextlib.suppress(OSError):
            if b"banyan" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    deadline, how = time.monotonic() + timeout_s, signal.SIGTERM
    while pids := marked_processes(directory):
        if time.monotonic() > deadline:
            how = signal.SIGKILL
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        time.sleep(0.25)
        while True:  # our own children leave nothing behind either
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            break


# ---- servers ------------------------------------------------------------------------------------

class Postgres:
    """One server of Debian's postgresql-15 with an application role that is no superuser: it owns its database and
    may replicate. As root, the server runs as user postgres with its data outside of root's home."""

    ROLE, DATABASE = "eaglebox", "eaglebox"
    SETTINGS = {"wal_level": "logical", "max_wal_senders": "10", "max_replication_slots": "10",
                "max_connections": "150", "shared_buffers": "64MB", "listen_addresses": "127.0.0.1",
                "log_min_messages": "warning"}

    def __init__(self, world, name):
        self.world, self.name, self.port = world, name, free_port()
        self.password = secrets.token_hex(12)
        self.home = pathlib.Path(tempfile.mkdtemp(prefix=f"banyan-demo-pg-{name}-"))
        world.remember_directory(self.home)
        self.binaries = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]

    def start(self):
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.home, account.pw_uid, account.pw_gid)
        data = str(self.home / "data")
        self._run([f"{self.binaries}/initdb", "-D", data, "-U", "postgres", "--auth-local=trust",
                   "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        options = [word for name, value in self.SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self.world.spawn(f"postgres-{self.name}", self._as_postgres() + [
            f"{self.binaries}/postgres", "-D", data, "-p", str(self.port), "-k", str(self.home), *options], cwd="/")
        wait_until(self._is_ready, f"PostgreSQL {self.name}")
        self.sql(f"CREATE ROLE {self.ROLE} LOGIN REPLICATION PASSWORD '{self.password}'")
        self.sql(f"CREATE DATABASE {self.DATABASE} OWNER {self.ROLE}")
        self.sql(f"ALTER SCHEMA public OWNER TO {self.ROLE}", self.DATABASE)

    def url(self):
        return f"postgresql://{self.ROLE}:{self.password}@127.0.0.1:{self.port}/{self.DATABASE}"

    def sql(self, statement, database="postgres"):
        self._run([f"{self.binaries}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.home), "-p",
                   str(self.port), "-U", "postgres", "-d", database, "-c", statement])

    def _is_ready(self):
        return subprocess.run([f"{self.binaries}/pg_isready", "-q", "-h", str(self.home), "-p", str(self.port)],
                              check=False).returncode == 0

    def _as_postgres(self):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []

    def _run(self, command):
        done = subprocess.run(self._as_postgres() + command, capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            raise DemoError(f"{command[0]}: {done.stderr.strip()}")


class World:
    """What runs, and where. `start_old` is the first step of the demo; the rest waits for the migration."""

    def __init__(self, directory, size):
        self.directory, self.size = pathlib.Path(directory), size
        self.media = self.directory / "old-media"
        self.objects = self.directory / "objects"
        self.logs = self.directory / "log"
        self.spec = self.directory / "banyan.yaml"
        self.secret_key = secrets.token_hex(24)
        self.directories, self.processes = [], []

    def create(self):
        if self.directory.exists():
            clean(self.directory)
        self.directory.mkdir(parents=True, mode=0o700)
        for path in (self.media, self.logs, self.directory / "secrets"):
            path.mkdir(mode=0o700)
        os.environ[MARK] = str(self.directory)
        self.old_port, self.gateway_port = free_port(), free_port()
        self.redis_port, self.objects_port = free_port(), free_port()

    def remember_directory(self, path):
        """Directories outside of ours that `clean` must remove too."""
        self.directories.append(str(path))
        (self.directory / "elsewhere.json").write_text(json.dumps(self.directories))

    def spawn(self, name, command, cwd=None, env=None):
        with open(self.logs / f"{name}.log", "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd=cwd or self.directory, env={**os.environ, **(env or {})},
                                       start_new_session=True)
        self.processes.append(process)
        return process

    def app_environment(self):
        return {"SECRET_KEY": self.secret_key, "ALLOWED_HOSTS": f"{HOST},localhost,127.0.0.1",
                "PASSWORD_ITERATIONS": "1000", "PYTHONDONTWRITEBYTECODE": "1"}

    def manage(self, *arguments):
        environment = {**os.environ, **self.old_environment()}
        done = subprocess.run([PYTHON, str(EAGLEBOX / "manage.py"), *arguments], env=environment, cwd=EAGLEBOX,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"eaglebox: manage.py {arguments[0]} failed:\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    def old_environment(self):
        return {**self.app_environment(), "DATABASE_URL": self.old.url(), "MEDIA_ROOT": str(self.media)}

    def start_old(self):
        """The monolith as a team runs it today: one PostgreSQL, one gunicorn, one directory of files."""
        self.old = Postgres(self, "old")
        self.old.start()
        self.manage("migrate", "-v0")
        seeded = self.manage("seed", "--documents", str(self.size.documents), "--users", str(self.size.people))
        self.spawn("old-gunicorn", ["gunicorn", "eaglebox.wsgi", "-b", f"127.0.0.1:{self.old_port}", "-w", "2",
                                    "-k", "gthread", "--threads", "8", "--keep-alive", "75"],
                   cwd=EAGLEBOX, env=self.old_environment())
        wait_until(lambda: answers_http(f"http://127.0.0.1:{self.old_port}/healthz"), "Eaglebox")
        return seeded

    def start_new(self):
        """The empty servers the migration moves to; Banyan itself serves the bucket."""
        self.new = Postgres(self, "new")
        self.new.start()
        # A title of its own would be written over the environment, by which our processes are found.
        self.spawn("redis", ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "",
                             "--set-proc-title", "no", "--dir", str(self.directory)])
        wait_until(self._redis_answers, "Redis")

    def _redis_answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.redis_port), 1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False

    def gateway_url(self):
        return f"http://127.0.0.1:{self.gateway_port}"

    def write_spec(self):
        for name, value in {"old_database_url": self.old.url(), "new_database_url": self.new.url(),
                            "secret_key": self.secret_key}.items():
            path = self.directory / "secrets" / name
            path.touch(mode=0o600)
            path.write_text(value + "\n")
        zones = "\n".join(f"  {name}: {{ address_base: {base} }}" for name, base in ZONES.items())
        self.spec.write_text(SPEC.format(world=self, host=HOST, zones=zones, eaglebox=EAGLEBOX))
        self.spec.chmod(0o600)

    def bucket(self):
        import boto3
        from botocore.config import Config

        key = (self.directory / ".banyan" / "bucket-documents.key").read_text().strip()
        return boto3.resource(
            "s3", endpoint_url=f"http://127.0.0.1:{self.objects_port}", aws_access_key_id="banyan-documents",
            aws_secret_access_key=key, region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"})).Bucket("documents")


SPEC = """\
# Written by ./dev demo. This is the whole description of the move.
banyan: 1
name: eaglebox
source:
  app: {{ listen: 127.0.0.1:{world.old_port}, recipe: django, root: {eaglebox} }}
  database: {{ url: {{ file: secrets/old_database_url }} }}
  files: [ {{ name: documents, path: {world.media} }} ]
  sessions: {{ kind: django-db }}
gateway:
  listen: [ 127.0.0.1:{world.gateway_port} ]
  public_host: {host}
  access_log: .banyan/log/access.log
zones:
{zones}
services:
  web:
    command: "gunicorn eaglebox.wsgi -b ${{HOST}}:${{PORT}} -w 1 -k gthread --threads 8 --keep-alive 75"
    cwd: {eaglebox}
    health: {{ path: /healthz }}
    instances: {{ min: 3, max: 6, min_per_zone: 1 }}
    env:
      SECRET_KEY: {{ file: secrets/secret_key }}
      ALLOWED_HOSTS: {host},localhost,127.0.0.1
      PASSWORD_ITERATIONS: "1000"
      PYTHONDONTWRITEBYTECODE: "1"
    bind: {{ DATABASE_URL: database.main, CACHE_URL: redis.sessions, "AWS_*": bucket.documents }}
databases: {{ main: {{ url: {{ file: secrets/new_database_url }} }} }}
redis: {{ sessions: {{ url: "redis://127.0.0.1:{world.redis_port}/0" }} }}
buckets:
  documents:
    endpoint: http://127.0.0.1:{world.objects_port}
    root: {world.objects}
routes: [ {{ match: /*, to: web, default: source }} ]
migrations:
  lift: {{ move: {{ database: all, files: all, sessions: all, routes: all }} }}
"""


def clean(directory):
    """Ends what a demo in `directory` left running and removes its data. Refuses a directory that is no demo's."""
    directory = pathlib.Path(directory)
    end_marked(directory)
    if not directory.exists():
        return
    if any(directory.iterdir()) and not (directory / "log").is_dir():
        raise DemoError(f"{directory} is not a directory of the demo; it stays as it is")
    with contextlib.suppress(OSError, ValueError):
        for path in json.loads((directory / "elsewhere.json").read_text()):
            if pathlib.Path(path).name.startswith("banyan-demo-pg-"):
                shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
