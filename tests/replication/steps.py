"""What the replication tests have in common: a followed pair of databases, and the act as the conductor
performs it."""
import contextlib
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Banyan, Postgres, RpcError, eventually  # noqa: E402, F401

NAME = "shop"


class Migration:
    """One migration of database `name` from server `old` to server `new`, by the role `replicate`."""

    def __init__(self, old, new, role, name=NAME):
        self.old, self.new, self.role, self.name = old, new, role, name
        self.epoch = 0
        self.settings = ""  # under which both sides show their rows alike
        self.timings = {}  # step of the act -> milliseconds

    def side(self, name):
        return self.old if name == "old" else self.new

    def call(self, verb, **body):
        return self.role.call(verb, name=self.name, **body)

    def config(self, user=None, **more):
        return {"source": self.old.url(self.name, user), "target": self.new.url(self.name, user),
                "tables": "all", "jobs": 2, **more}

    def start(self, user=None, **more):
        self.call("start", config=self.config(user, **more))

    def wait_following(self):
        def following():
            status = self.call("status")
            assert status["state"] != "failed", status
            return status["state"] == "following"
        eventually(following, "following")

    def spool(self):
        """Where the spool stands. A role that was just started tells it once its stream has begun."""
        return eventually(lambda: self.call("status")["stream"].get("spool"), "the stream to begin")

    def begin_afresh(self, name, setup, **more):
        """Another migration, of databases of its own; the one before goes on with whatever it was left in."""
        self.name, self.epoch = name, 0
        for server in (self.old, self.new):
            server.create_database(name)
        self.old.psql(setup, name)
        self.start(**more)
        self.wait_following()

    def next_epoch(self):
        self.epoch += 1
        return self.epoch

    def active(self):
        return self.call("act.state")["active"]

    def fence(self, epoch, tries=20):
        """As the conductor does it: a fence that meets a long writer is tried again."""
        for attempt in range(tries):
            try:
                return self.call("act.fence", epoch=epoch, lock_timeout_ms=300)
            except RpcError as error:
                if error.code != "timeout" or attempt == tries - 1:
                    raise

    def switch(self):
        """The whole act; the milliseconds in which nobody could write."""
        epoch = self.next_epoch()
        self.call("act.prepare")
        begun = time.monotonic()
        self.timed("fence", lambda: self.fence(epoch))
        self.timed("await", lambda: self.call("act.await", epoch=epoch, timeout_ms=60000))
        self.timed("sequences", lambda: self.call("act.sequences"))
        checked = self.timed("check", lambda: self.call("act.check"))
        assert checked["equal"], checked
        self.timed("handover", lambda: self.call("act.handover", epoch=epoch))
        self.timed("open", lambda: self.call("act.open", epoch=epoch))
        return (time.monotonic() - begun) * 1000

    def timed(self, step, body):
        begun = time.monotonic()
        answer = body()
        self.timings.setdefault(step, []).append((time.monotonic() - begun) * 1000)
        return answer

    def verify(self, scope="all"):
        return self.until_done("verify", scope=scope)

    def repair(self, **order):
        return self.until_done("repair", **order)

    def until_done(self, verb, **order):
        def finished():
            answer = self.call(verb, wait_ms=2000, **order)
            return answer if answer["state"] != "running" else None
        return eventually(finished, verb)

    def assert_equal(self, tables):
        """Both sides hold the same rows once the stream has passed what is there now."""
        def rows(server, table):
            return server.run(f"{self.settings}select t::text from {table} t order by 1", self.name)
        for table in tables:
            try:
                eventually(lambda: rows(self.old, table) == rows(self.new, table), table, timeout_s=60)
            except TimeoutError:
                old, new = rows(self.old, table), rows(self.new, table)
                raise AssertionError(f"{table} differs: only old {[r for r in old if r not in new][:5]} "
                                     f"only new {[r for r in new if r not in old][:5]} "
                                     f"{self.call('status')}") from None


def past_the_fence(server, sql, name="shop"):
    """Writes on a closed side, as only the owner can: with the pass that the fence asks for. No stream tells of it."""
    server.run(f"select set_config('banyan.apply', nonce, false) from banyan.secret where name = '{name}'; "
               f"set session_replication_role = replica; {sql}", name)


class Pair(Migration):
    """Two servers of its own and a role that moves database `shop` from `old` to `new`."""

    def __init__(self, binary):
        self.stack = contextlib.ExitStack()
        super().__init__(Postgres(), Postgres(), Banyan(binary, "replicate"))

    def __enter__(self):
        for part in (self.old, self.new, self.role):
            self.stack.enter_context(part)
        for server in (self.old, self.new):
            server.create_database(self.name)
        return self

    def __exit__(self, *error):
        if error[0]:
            print(self.role.log_tail(60), file=sys.stderr)
        self.stack.close()
