"""The attachments of requests: decoded and hashed, and their rows, written in the commit of their mail.

Bytes are kept once by their SHA-256. Requests are compared by the hashes, so the stored request holds no bytes.
"""

import asyncio
from binascii import a2b_base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import asyncpg
import orjson

from shared.contract import attachments as contract
from shared.contract.problems import InvalidRequest, at, invalid
from shared.db.pool import Connection, Pool, Record

from . import queries

# Decoding more than this would hold up other requests, so it happens on a thread, in pieces: the interpreter lets
# other threads run between them. A multiple of four characters, which are three bytes.
_PIECE_CHARACTERS = 1 << 18
# Bytes may be wiped with another mail between two statements. The next run stores them again.
_MAX_TRIES = 5
_NOT_BASE64 = "Must be base64 (RFC 4648 section 4) with padding and without line breaks"


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content_id: str | None
    sha256: bytes
    data: bytes = field(repr=False)

    def described(self) -> dict[str, Any]:
        """What the fingerprint covers and the stored request holds."""
        description = {
            "filename": self.filename,
            "content_type": self.content_type,
            "content_id": self.content_id,
            "sha256": self.sha256.hex(),
            "size": len(self.data),
        }
        return {name: value for name, value in description.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AttachedMail:
    """The attachments of a mail that may be new, by the request ID and the fingerprint of the mail."""

    request_id: str
    fingerprint: bytes
    attachments: tuple[Attachment, ...]


async def read(sent: Sequence[contract.Attachment]) -> tuple[Attachment, ...] | InvalidRequest:
    """Decode and hash; or the problem that names every attachment that cannot be read, or repeats a content ID."""
    if sum(len(attachment.content) for attachment in sent) > _PIECE_CHARACTERS:
        return await asyncio.to_thread(_read, sent)
    return _read(sent)


def _read(sent: Sequence[contract.Attachment]) -> tuple[Attachment, ...] | InvalidRequest:
    errors = list(_repeated_content_ids(sent))
    found = []
    for place, one in enumerate(sent):
        try:
            data = decoded(one.content)
        except ValueError:
            errors.append(at(f"/attachments/{place}/content", _NOT_BASE64))
        else:
            found.append(Attachment(one.filename, one.content_type, one.content_id, sha256(data).digest(), data))
    return invalid(errors) if errors else tuple(found)


def _repeated_content_ids(sent: Sequence[contract.Attachment]) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for place, one in enumerate(sent):
        if one.content_id in seen:
            yield at(f"/attachments/{place}/content_id", "Must be unique in the mail")
        if one.content_id is not None:
            seen.add(one.content_id)


def decoded(text: str) -> bytes:
    """Strict base64. Raises ValueError."""
    if len(text) % 4 or text.find("=", 0, -2) >= 0:
        raise ValueError(_NOT_BASE64)
    pieces = (text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS))
    return b"".join(a2b_base64(piece, strict_mode=True) for piece in pieces)


def encoded_size(size: int) -> int:
    """Characters of base64 for so many bytes."""
    return (size + 2) // 3 * 4


def refuse_without_html(attachments: Sequence[Attachment], html: str | None) -> None:
    """Raises InvalidRequest: there is no HTML, and an attachment has a content ID, which only HTML can refer to."""
    inline = [place for place, attachment in enumerate(attachments) if attachment.content_id is not None]
    if inline and html is None:
        raise invalid([at(f"/attachments/{place}/content_id", "Needs HTML, which refers to it") for place in inline])


async def run_with_attachments(
    pool: Pool, client: str, attached: Sequence[AttachedMail], statement: str, *arguments: Any
) -> list[Record]:
    """Run a statement that writes mails, and in the same commit give the new ones their attachments."""
    for left in reversed(range(_MAX_TRIES)):
        try:
            async with pool.acquire() as connection, connection.transaction():
                written = await connection.fetch(statement, *arguments)
                await _attach(connection, client, attached)
                return written
        except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


async def _attach(connection: Connection, client: str, attached: Sequence[AttachedMail]) -> None:
    by_request_id = {mail.request_id: mail for mail in attached if mail.attachments}
    fingerprints = [mail.fingerprint for mail in by_request_id.values()]
    bare = await connection.fetch(queries.FIND_UNATTACHED, client, list(by_request_id), fingerprints)
    new = {row["id"]: by_request_id[row["request_id"]].attachments for row in bare}
    if not new:
        return  # all were seen before
    await _store_bytes(connection, {one.sha256: one.data for attachments in new.values() for one in attachments})
    rows = [
        {"mail_id": mail_id, "n": place, **one.described()}
        for mail_id, attachments in new.items()
        for place, one in enumerate(attachments)
    ]
    await connection.execute(queries.ATTACH, orjson.dumps(rows, default=str).decode())


async def _store_bytes(connection: Connection, blobs: Mapping[bytes, bytes]) -> None:
    """In one order for all requests, so that two with the same attachments wait for each other, without a deadlock."""
    known = {row["sha256"] for row in await connection.fetch(queries.FIND_BLOBS, list(blobs))}
    for digest in sorted(blobs.keys() - known):
        await connection.execute(queries.STORE_BLOB, digest, blobs[digest])
