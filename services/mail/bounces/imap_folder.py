"""A folder on an IMAP server (RFC 3501): which messages were not read yet, their content, and taking one away.

Python's imaplib speaks the protocol. Messages are named by UID, so nothing that happens meanwhile changes which one is
meant. Calls block: run them in a thread.
"""

import contextlib
import imaplib
import re
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Self

from shared.contract.configuration import ConfigurationError
from shared.observability.foreign_errors import describe
from shared.observability.masking import mask_text

from ..delivery.gateways.settings import Tls
from .imap_url import ImapAccount
from .notice_size import LARGEST_NOTICE_BYTES

# Marks messages that stay. Not \Seen: a person who looks into the mailbox must not hide a notice from us.
LEFT = "$CounterfoilLeft"
_TIMEOUT_SECONDS = 60.0
_DELETED = r"(\Deleted)"


class ImapError(Exception):
    """The server refused, or cannot be reached. The text says what was tried and the server's words."""


class ImapFolder:
    """An open folder. Use it as a context manager: leaving it ends the connection."""

    def __init__(self, imap: imaplib.IMAP4) -> None:
        self._imap = imap
        self._capabilities: frozenset[str] = frozenset()
        self._marks = False
        self._deleted: set[str] = set()

    @classmethod
    def open(cls, account: ImapAccount, password: str) -> Self:
        """Connect, log in and select.

        Raises:
            ImapError: the server cannot be reached, or refused.
            ConfigurationError: the CA file cannot be read.
        """
        with _told(f"connecting to {account.host}:{account.port}"):
            folder = cls(_connect(account))
        try:
            folder._log_in(account.username, password)
            folder._select(account.folder)
        except BaseException:
            folder._hang_up()
            raise
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def unread(self) -> list[str]:
        """UIDs of all messages that are neither deleted nor marked as left, oldest first."""
        return self._search("UNDELETED", "UNKEYWORD", LEFT)

    def read(self, uid: str) -> bytes | None:
        """The message, or the beginning of a long one; None when it is gone. Does not mark it as seen."""
        found = self._uid(f"reading message {uid}", "FETCH", uid, f"(BODY.PEEK[]<0.{LARGEST_NOTICE_BYTES}>)")
        for item in found:
            if isinstance(item, tuple):  # what came as a literal
                content: bytes = item[1]
                return content
        # An empty message comes as a quoted string.
        return b"" if any(isinstance(item, bytes) and b"BODY[" in item for item in found) else None

    def leave(self, uid: str) -> None:
        """Mark the message, so that it is not read again. A server that keeps no keywords shows it each time."""
        if self._marks:
            self._uid(f"marking message {uid}", "STORE", uid, "+FLAGS.SILENT", f"({LEFT})")

    def has_folder(self, name: str) -> bool:
        with _told(f"asking for the folder {name}"):
            answer, _ = self._imap.status(_quoted(name), "(MESSAGES)")
        return bool(answer == "OK")

    def move(self, uid: str, name: str) -> None:
        """Move one message to a folder that exists."""
        if "MOVE" in self._capabilities:
            self._uid(f"moving message {uid} to {name}", "MOVE", uid, _quoted(name))
            return
        self._uid(f"copying message {uid} to {name}", "COPY", uid, _quoted(name))
        self.delete(uid)

    def delete(self, uid: str) -> None:
        """Delete one message, and no other that a person has marked as deleted."""
        self._uid(f"deleting message {uid}", "STORE", uid, "+FLAGS.SILENT", _DELETED)
        if "UIDPLUS" in self._capabilities:
            self._uid(f"deleting message {uid}", "EXPUNGE", uid)
        else:
            self._deleted.add(uid)

    def finish(self) -> None:
        """On a server without UIDPLUS, expunge what `delete` marked: only when all marked messages are ours."""
        if self._deleted and self._deleted.issuperset(self._search("DELETED")):
            with _told("expunging deleted messages"):
                self._imap.expunge()
            self._deleted.clear()

    def _log_in(self, username: str, password: str) -> None:
        with _told("logging in"):
            if "AUTH=PLAIN" in self._imap.capabilities:
                # Takes any character; LOGIN takes ASCII.
                self._imap.authenticate("PLAIN", lambda _: f"\0{username}\0{password}".encode())
            elif not (username + password).isascii():
                raise ImapError("logging in: this server takes only ASCII user names and passwords")
            else:
                self._imap.login(_quoted(username), password)
            # Some capabilities are announced only after the login.
            _, found = self._imap.capability()
        self._capabilities = frozenset(_text(found).upper().split())

    def _select(self, name: str) -> None:
        with _told(f"opening the folder {name}"):
            answer, found = self._imap.select(_quoted(name))
        if answer != "OK":
            raise ImapError(f"opening the folder {name}: {mask_text(_text(found))}")
        _, flags = self._imap.response("PERMANENTFLAGS")
        self._marks = bool(re.search(rf"\\\*|{re.escape(LEFT)}\b", _text(flags or [])))

    def _search(self, *criteria: str) -> list[str]:
        found = self._uid("searching the folder", "SEARCH", *criteria)
        return sorted(_text(found).split(), key=int)

    def _uid(self, what: str, *command: str) -> list[Any]:
        with _told(what):
            answer, found = self._imap.uid(*command)
        if answer != "OK":
            raise ImapError(f"{what}: {mask_text(_text(found))}")
        return found

    def _hang_up(self) -> None:
        # Not CLOSE, which expunges whatever anyone has marked as deleted.
        try:
            self._imap.logout()
        except (imaplib.IMAP4.error, OSError):
            with contextlib.suppress(OSError):
                self._imap.shutdown()


def _connect(account: ImapAccount) -> imaplib.IMAP4:
    context = None if account.tls is Tls.NONE else _context(account)
    if account.tls is Tls.IMPLICIT:
        return imaplib.IMAP4_SSL(account.host, account.port, ssl_context=context, timeout=_TIMEOUT_SECONDS)
    imap = imaplib.IMAP4(account.host, account.port, timeout=_TIMEOUT_SECONDS)
    if context is not None:
        try:
            imap.starttls(context)
        except BaseException:
            imap.shutdown()
            raise
    return imap


def _context(account: ImapAccount) -> ssl.SSLContext:
    """Verifies the certificate and the name in it."""
    try:
        return ssl.create_default_context(cafile=account.ca_file)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"ca={account.ca_file}: {why}") from None


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what imaplib raises into an ImapError: of the server's own words, addresses are masked."""
    try:
        yield
    except imaplib.IMAP4.error as error:
        words = error.args[0] if error.args else ""
        said = _text([words]) if isinstance(words, bytes) else str(words)
        raise ImapError(f"{what}: {mask_text(said)}") from None
    except OSError as error:
        raise ImapError(f"{what}: {describe(error)}") from None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _text(found: Sequence[Any]) -> str:
    return b" ".join(item for item in found if isinstance(item, bytes)).decode("utf-8", "replace")
