"""What the failure stories share: one pair of real servers and one role, a database pair for each migration."""
import contextlib
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from steps import Banyan, Migration, Postgres, RpcError, eventually, past_the_fence  # noqa: E402, F401

SETTINGS = {"autovacuum_naptime": "1s", "max_replication_slots": "40", "max_wal_senders": "40"}


class World:
    """`old` and `new` servers and the `role`; `migration()` gives a story a database pair of its own."""

    def __init__(self, binary):
        self.binary = binary
        self.count = 0

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.old = self.stack.enter_context(Postgres(settings=SETTINGS))
        self.new = self.stack.enter_context(Postgres(settings=SETTINGS))
        self.role = self.stack.enter_context(Banyan(self.binary, "replicate"))
        return self

    def __exit__(self, *_):
        self.stack.close()

    @contextlib.contextmanager
    def migration(self, setup, begin=True, user=None, **config):
        """A migration of a fresh database that `setup` (a psql script) fills; followed when it is given."""
        self.count += 1
        name = f"story{self.count}"
        for server in (self.old, self.new):
            server.create_database(name)
        self.old.psql(setup, name)
        move = Migration(self.old, self.new, self.role, name)
        if begin:
            move.start(user, **config)
            move.wait_following()
        yield move
        self._remove(move)

    def _remove(self, move):
        with contextlib.suppress(RpcError):
            self.role.call("cancel" if move.active() == "old" else "complete", name=move.name)
        for server in (self.old, self.new):
            for slot, in server.run(f"select slot_name from pg_replication_slots where database = '{move.name}'"):
                server.run(f"select pg_drop_replication_slot('{slot}')")
            server.run(f'drop database "{move.name}" with (force)')


def refused(call, *words, code=None):
    """The call must be refused, with a code, and words in its message or remedy."""
    try:
        call()
    except RpcError as error:
        assert code is None or error.code == code, error
        for word in words:
            assert word in f"{error} {error.remedy}", (word, error, error.remedy)
        return error
    raise AssertionError("was not refused")


def mark(move, side="old"):
    """Waits until everything that is committed on a side has arrived on the other (table `mark(id int)`)."""
    here, there = move.side(side), move.side("new" if side == "old" else "old")
    number = here.value("insert into public.mark select coalesce(max(id), 0) + 1 from public.mark returning id", move.name)

    def arrived():
        status = move.call("status")
        assert status["state"] != "failed", status
        return there.value(f"select 1 from public.mark where id = {number}", move.name)
    eventually(arrived, "the stream")


class Background(threading.Thread):
    """Runs body(stopping) until stop(), which raises what the body raised."""

    def __init__(self, body):
        super().__init__(daemon=True)
        self.body, self.stopping, self.trouble = body, threading.Event(), None
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.body()
                time.sleep(0.002)
        except Exception as error:
            self.trouble = error

    def stop(self):
        self.stopping.set()
        self.join()
        if self.trouble:
            raise self.trouble
