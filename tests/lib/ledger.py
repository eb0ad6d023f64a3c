"""The ledger of a load: every write that was sent and how it was answered, and the proof that each stands exactly once.

One JSON object a line. `sent` is written before each request leaves (a client may send the same key again when it got
no answer), `answered` when its answer is known, so an acknowledged write is always in the ledger, whatever happens to
the load. Keys are unique over all runs.
"""
import asyncio
import dataclasses
import hashlib
import json
import os
import time

FSYNC_EVERY_S = 0.5


class Ledger:
    """Appends lines; they reach the disk twice a second and on close()."""

    def __init__(self, path):
        self._file = open(path, "a", buffering=1, encoding="utf-8")
        self._synced = time.monotonic()

    def write(self, **fields):
        self._file.write(json.dumps(fields, separators=(",", ":")) + "\n")
        if time.monotonic() - self._synced > FSYNC_EVERY_S:
            self.sync()

    def sync(self):
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self):
        self.sync()
        self._file.close()


@dataclasses.dataclass
class Write:
    key: str
    sha256: str
    sent: int = 0  # how often the client sent it
    acknowledged: bool = False
    refused: bool = False  # answered, and not with success: it may not be there
    location: str = ""


def read(path):
    """{key: Write} of a ledger; a torn last line is ignored."""
    writes = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["event"] == "sent":
                writes.setdefault(entry["key"], Write(entry["key"], entry["sha256"])).sent += 1
            elif entry["key"] in writes:
                write = writes[entry["key"]]
                write.acknowledged = entry["acknowledged"]
                write.refused = not entry["acknowledged"] and entry["status"] is not None
                write.location = entry.get("location", "")
    return writes


@dataclasses.dataclass
class Verdict:
    """What the comparison of a ledger with the serving side found."""

    acknowledged: int = 0
    unanswered: int = 0
    lost: list = dataclasses.field(default_factory=list)
    duplicated: list = dataclasses.field(default_factory=list)
    unsent: list = dataclasses.field(default_factory=list)
    files_compared: int = 0

    def ok(self):
        return not (self.lost or self.duplicated or self.unsent)

    def as_json(self):
        return {
            "acknowledged_writes": self.acknowledged,
            "unanswered_writes": self.unanswered,
            "lost_writes": len(self.lost),
            "duplicated_writes": len(self.duplicated),
            "unsent_writes": len(self.unsent),
            "files_downloaded": self.files_compared,
            "lost": self.lost[:20],
            "duplicated": self.duplicated[:20],
            "unsent": self.unsent[:20],
        }


async def check(path, database_url, fetch, stored_names, prefix="load-"):
    """Compares the ledger at `path` with the database that serves, its files and their names.

    await fetch(pk) -> bytes downloads a document as a user does; stored_names is the list of all file names of the store.
    """
    writes = read(path)
    rows = _rows(database_url, prefix)
    verdict = Verdict(
        acknowledged=sum(write.acknowledged for write in writes.values()),
        unanswered=sum(not write.acknowledged and not write.refused for write in writes.values()))
    stored = _count_by_key(stored_names, prefix)
    for key, write in writes.items():
        _check_counts(verdict, write, rows.get(key, []), stored.get(key, 0))
    verdict.unsent = sorted((set(rows) | set(stored)) - set(writes))
    present = [(write, rows[key][0]) for key, write in writes.items() if write.acknowledged and rows.get(key)]
    await _check_contents(verdict, present, fetch)
    return verdict


def _rows(database_url, prefix):
    """{key: [(pk, file name, attempts)]}: attempts are the audit lines, one for each time the app was asked."""
    import psycopg2

    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.upload_key, d.id, d.file, (SELECT count(*) FROM documents_auditentry a"
            " WHERE a.upload_key = d.upload_key) FROM documents_document d WHERE d.upload_key LIKE %s",
            (prefix + "%",))
        rows = {}
        for key, *rest in cursor.fetchall():
            rows.setdefault(key, []).append(tuple(rest))
    connection.close()
    return rows


def _count_by_key(names, prefix):
    """Counts the stored files of each key; names look like documents/2024/05/<key>-<name>."""
    counts = {}
    for name in names:
        base = name.rsplit("/", 1)[-1]
        if base.startswith(prefix):
            key = base.rsplit("-", 1)[0]
            counts[key] = counts.get(key, 0) + 1
    return counts


def _check_counts(verdict, write, rows, files):
    attempts = max([row[2] for row in rows], default=0)
    if write.acknowledged and not rows:
        verdict.lost.append(f"{write.key}: acknowledged at {write.location}, no row")
    elif write.acknowledged and files == 0:
        verdict.lost.append(f"{write.key}: acknowledged, no file")
    if write.acknowledged and rows and attempts == 0:
        verdict.lost.append(f"{write.key}: acknowledged, its audit line is missing")
    if len(rows) > 1 or files > write.sent or attempts > write.sent:
        verdict.duplicated.append(
            f"{write.key}: sent {write.sent} times, {len(rows)} rows, {files} files, {attempts} audit lines")


async def _check_contents(verdict, present, fetch):
    limit = asyncio.Semaphore(8)

    async def one(write, row):
        async with limit:
            try:
                content = await fetch(row[0])
            except Exception as error:  # whatever the client library raises: the document cannot be had
                verdict.lost.append(f"{write.key}: cannot be downloaded: {error}")
                return
        verdict.files_compared += 1
        if hashlib.sha256(content).hexdigest() != write.sha256:
            verdict.lost.append(f"{write.key}: content differs ({len(content)} bytes)")

    await asyncio.gather(*(one(write, row) for write, row in present))
