"""Stores the mails: one SQLite file, one thread that writes.

A sender waits for the commit of its mail. One commit serves all senders that wait, so a thousand mails cost a few dozen
commits. List entries are computed later, when no mail waits, and at the latest before a read: answering the sender
comes first.
"""

import asyncio
import contextlib
import datetime as dt
import json
import queue
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .message import Envelope, Json, summary

LARGEST_BATCH = 500  # mails for one commit
IDLE_SECONDS = 0.05  # without a new mail; then list entries are computed
SUMMARIES_AT_A_TIME = 50  # few enough that a new mail does not wait long
SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    read INTEGER NOT NULL DEFAULT 0,
    message_id TEXT,
    search_to TEXT, search_from TEXT, subject TEXT,
    summary TEXT
);
CREATE INDEX IF NOT EXISTS mails_by_message_id ON mails (message_id);
CREATE INDEX IF NOT EXISTS mails_unread ON mails (number) WHERE read = 0;
CREATE INDEX IF NOT EXISTS mails_without_summary ON mails (number) WHERE summary IS NULL;
CREATE TABLE IF NOT EXISTS contents (number INTEGER PRIMARY KEY, raw BLOB NOT NULL);
"""
INSERT_MAIL = "INSERT INTO mails (id, created, sender, recipients) VALUES (?, ?, ?, ?) RETURNING number"
NOT_SUMMARIZED = """
SELECT number, sender, recipients, raw FROM mails JOIN contents USING (number) WHERE summary IS NULL
ORDER BY number LIMIT ?"""
SUMMARIZE = """
UPDATE mails SET message_id = ?, search_to = ?, search_from = ?, subject = ?, summary = ? WHERE number = ?"""
PAGE = "SELECT id, created, read, summary FROM mails WHERE {where} ORDER BY number DESC LIMIT ? OFFSET ?"
OPEN = "SELECT id, raw, sender, recipients, created FROM mails JOIN contents USING (number) WHERE {where}"
NEWEST = "number = (SELECT max(number) FROM mails)"
COUNTS = "SELECT count(*), (SELECT count(*) FROM mails WHERE read = 0) FROM mails"

Work = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True)
class StoredMail:
    """A mail as received, and when."""

    id: str
    raw: bytes
    envelope: Envelope
    created: str


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: the commit is on disk when it returns, which the sender's 250 promises.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


class Store:
    """Use `await add` in the event loop, and the other methods in threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reader = _connect(path)
        self._reader.executescript(SCHEMA)
        self._reading = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Work, Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, args=(_connect(path),), name="writer")
        self._writer.start()

    def close(self) -> None:
        """Stop writing. Every added mail is on disk already."""
        self._jobs.put(None)
        self._writer.join()
        self._reader.close()

    async def add(self, raw: bytes, envelope: Envelope) -> str:
        """Returns the mail's ID when it is on disk."""
        mail_id = uuid.uuid4().hex
        created = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        row = (mail_id, created, envelope.sender, json.dumps(envelope.recipients))

        def insert(connection: sqlite3.Connection) -> None:
            number = connection.execute(INSERT_MAIL, row).fetchone()[0]
            connection.execute("INSERT INTO contents VALUES (?, ?)", (number, raw))

        await asyncio.wrap_future(self._submit(insert))
        return mail_id

    def _submit(self, work: Work) -> "Future[Any]":
        done: Future[Any] = Future()
        # From here on it cannot be canceled. Otherwise a client that dies after its dot would end the writing thread,
        # and every later mail would wait for ever.
        done.set_running_or_notify_cancel()
        self._jobs.put((work, done))
        return done

    def _write(self, connection: sqlite3.Connection) -> None:
        """The writing thread. New mails come first. When none waits, it adds some missing list entries."""
        behind = True
        with contextlib.closing(connection):
            while True:
                batch = self._take(IDLE_SECONDS if behind else None)
                if None in batch:
                    return
                if batch:
                    behind = True
                    _commit_together(connection, [job for job in batch if job])
                else:
                    behind = _summarize_some(connection)

    def _take(self, seconds: float | None) -> "list[tuple[Work, Future[Any]] | None]":
        batch = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._jobs.get(timeout=seconds))
            while len(batch) < LARGEST_BATCH:
                batch.append(self._jobs.get_nowait())
        return batch

    def settle(self) -> None:
        """Returns when every mail that was added before has its list entry."""
        newest = self._fetch("SELECT max(number) FROM mails")[0][0]
        # In small pieces, so that new mails are written in between.
        while self._fetch("SELECT 1 FROM mails WHERE summary IS NULL AND number <= ? LIMIT 1", (newest,)):
            self._submit(_summarize_some).result()

    def _fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[Any]:
        with self._reading:
            return self._reader.execute(statement, parameters).fetchall()

    def counts(self) -> tuple[int, int]:
        """The number of all mails, and of unread ones."""
        total, unread = self._fetch(COUNTS)[0]
        return total, unread

    def page(self, where: str, parameters: Sequence[object], start: int, limit: int) -> list[Json]:
        """List entries, newest first. `where` comes from this package's constants only."""
        rows = self._fetch(PAGE.format(where=where), (*parameters, limit, start))
        return [
            {"ID": mail_id, "Read": bool(read), "Created": created, **json.loads(entry)}
            for mail_id, created, read, entry in rows
        ]

    def count(self, where: str, parameters: Sequence[object]) -> int:
        return int(self._fetch(f"SELECT count(*) FROM mails WHERE {where}", parameters)[0][0])

    def open(self, mail_id: str, *, read: bool = False) -> StoredMail | None:
        """The mail, marked as read if `read`. The ID `latest` means the newest one."""
        where = NEWEST if mail_id == "latest" else "id = ?"
        rows = self._fetch(OPEN.format(where=where), () if mail_id == "latest" else (mail_id,))
        if not rows:
            return None
        found, raw, sender, recipients, created = rows[0]
        if read:
            self._submit(
                lambda connection: connection.execute("UPDATE mails SET read = 1 WHERE id = ?", (found,))
            ).result()
        return StoredMail(found, raw, Envelope(sender, tuple(json.loads(recipients))), created)

    def delete(self, mail_ids: Iterable[str] | None) -> None:
        """Delete these mails, or all for None. Unknown IDs are ignored."""

        def remove(connection: sqlite3.Connection) -> None:
            if mail_ids is None:
                connection.execute("DELETE FROM mails")
                connection.execute("DELETE FROM contents")
                return
            for mail_id in mail_ids:
                row = connection.execute("DELETE FROM mails WHERE id = ? RETURNING number", (mail_id,)).fetchone()
                if row:
                    connection.execute("DELETE FROM contents WHERE number = ?", row)

        self._submit(remove).result()


def _commit_together(connection: sqlite3.Connection, jobs: "list[tuple[Work, Future[Any]]]") -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        for work, _ in jobs:
            work(connection)
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - for example a full disk: each sender gets a 451 and tries again
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        for _, done in jobs:
            done.set_exception(error)
        return
    for _, done in jobs:
        done.set_result(None)


def _summarize_some(connection: sqlite3.Connection) -> bool:
    """Add some missing list entries. Returns whether there were any."""
    rows = connection.execute(NOT_SUMMARIZED, (SUMMARIES_AT_A_TIME,)).fetchall()
    within = connection.in_transaction
    if rows and not within:
        connection.execute("BEGIN IMMEDIATE")
    for number, sender, recipients, raw in rows:
        envelope = Envelope(sender, tuple(json.loads(recipients)))
        entry = summary(raw, envelope)
        to = json.dumps([entry["To"], entry["Cc"], entry["Bcc"], envelope.recipients], ensure_ascii=False).casefold()
        origin = json.dumps([entry["From"], sender], ensure_ascii=False).casefold()
        values = (entry["MessageID"], to, origin, str(entry["Subject"]).casefold(), json.dumps(entry), number)
        connection.execute(SUMMARIZE, values)
    if rows and not within:
        connection.execute("COMMIT")
    return bool(rows)
