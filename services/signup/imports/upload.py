"""Stages a body in batches while it arrives. The import runs once the whole body is stored.

The uploading request holds the import's `receiver` token, and every write checks it. A second request with the same key
takes over an incomplete import: the client has given up on the first request, or its API process has died.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import NoReturn

from shared.contract import problems
from shared.contract.correlation import current
from shared.contract.ids import UUID, uuid7
from shared.db.pool import Pool, Record

from ..errors import ImportTakenOver, RequestIdReused
from . import queries
from .file_lines import Record as Staged
from .file_lines import UnreadableFileError
from .file_reader import READERS
from .states import State

# Size of a staged batch, in rows or bytes.
_BATCH_ROWS = 1000
_BATCH_BYTES = 128 * 1024
# How often, and how many times, an overtaken request checks whether the other one has finished.
_POLL_SECONDS, _POLLS = 0.5, 20
_INTERRUPTED = "The upload was interrupted; send the body again with the same Idempotency-Key"
_INCOMPLETE = (State.RECEIVING, State.FAILED)


@dataclass(frozen=True, slots=True)
class ImportCommand:
    """An import request."""

    client: str
    actor: str
    idempotency_key: str | None
    source: str
    media: str
    dry_run: bool
    mails_per_minute: int

    def refuse_if_different(self, first: Record) -> None:
        """Raises RequestIdReused, which names the parameters that differ from the first request with this key."""
        differing = [name for name in ("source", "mails_per_minute", "dry_run") if first[name] != getattr(self, name)]
        errors = [{"parameter": name, "detail": "Differs from the first request"} for name in differing]
        if first["media"] != self.media:
            errors.append({"header": "Content-Type", "detail": "Differs from the first request"})
        if errors:
            _raise_reused(errors)


async def receive(pool: Pool, command: ImportCommand, body: AsyncIterator[bytes]) -> tuple[Record, bool]:
    """Store an import. Returns it, and whether another request stored it. Committed on return; the worker runs it.

    Raises:
        RequestIdReused: the key was used for another import.
        InvalidRequest: the body is not a valid import; nothing is left behind.
        ImportTakenOver: another request with this key is uploading it, or it was canceled meanwhile.
    """
    receiver = uuid7()
    digest = hashlib.sha256()
    import_id = await _open(pool, command, receiver)
    if import_id is not None:
        started = await _stage(pool, command, import_id, receiver, _digested(body, digest))
        if started and (row := await pool.fetchrow(queries.START_IF_RECEIVING, import_id, receiver, digest.digest())):
            return row, False
    # Another request stored this import or is uploading it. The digest of the whole body shows whether they are equal.
    async for chunk in body:
        digest.update(chunk)
    return await _stored_import(pool, command, digest.digest()), True


async def _open(pool: Pool, command: ImportCommand, receiver: UUID) -> UUID | None:
    """The ID of the import to upload now, or None when it is already stored."""
    correlation = current()
    request_id, traceparent = (correlation.request_id, correlation.traceparent) if correlation else (None, None)
    while True:
        opened: UUID | None = await pool.fetchval(
            queries.OPEN_IF_KEY_IS_FREE,
            *(
                command.client,
                command.idempotency_key,
                receiver,
                command.source,
                command.media,
                command.dry_run,
                command.mails_per_minute,
            ),
            *(command.actor, request_id, traceparent),
        )
        if opened is not None:
            return opened
        first = await pool.fetchrow(queries.FIND_BY_KEY, command.client, command.idempotency_key)
        if first is None:
            continue  # discarded meanwhile: the key is free
        command.refuse_if_different(first)
        if first["state"] not in _INCOMPLETE:
            return None
        async with pool.acquire() as connection, connection.transaction():
            taken: UUID | None = await connection.fetchval(
                queries.TAKE_OVER_IF_INCOMPLETE, first["id"], receiver, command.actor, request_id, traceparent
            )
            if taken is not None:
                await connection.execute(queries.DELETE_STAGED_ROWS, taken)
                return taken


async def _stage(
    pool: Pool, command: ImportCommand, import_id: UUID, receiver: UUID, body: AsyncIterator[bytes]
) -> bool:
    """Stage the whole body. Returns False when another request has taken the import over.

    A body that ends early ends the import: a refused body leaves nothing, an interrupted one a failed import.
    """
    reader = READERS[command.media]()
    try:
        async for chunk in _merged(body):
            for batch in _batches(reader.feed(chunk)):
                if not await _write(pool, import_id, receiver, batch):
                    return False
        return all([await _write(pool, import_id, receiver, batch) for batch in _batches(reader.end())])
    except UnreadableFileError as error:
        await pool.execute(queries.DISCARD_IF_RECEIVING, import_id, receiver)
        raise _as_problem(error) from None
    except problems.PayloadTooLarge:
        await pool.execute(queries.DISCARD_IF_RECEIVING, import_id, receiver)
        raise
    except problems.MalformedRequest:
        await pool.execute(queries.FAIL_IF_RECEIVING, import_id, receiver, _INTERRUPTED)
        raise


def _as_problem(error: UnreadableFileError) -> problems.InvalidRequest:
    named = f"{', '.join(error.columns)}: " if error.columns else ""
    pointers = [problems.pointer([column]) for column in error.columns] or [""]
    return problems.InvalidRequest(
        f"{named}{error.detail}.", errors=[problems.at(pointer, error.detail) for pointer in pointers]
    )


async def _write(pool: Pool, import_id: UUID, receiver: UUID, batch: list[Staged]) -> bool:
    lines, raws, reasons = zip(*((record.line, record.raw, record.reason) for record in batch), strict=True)
    return bool(await pool.fetchval(queries.STAGE_IF_RECEIVING, import_id, receiver, lines, raws, reasons))


async def _stored_import(pool: Pool, command: ImportCommand, digest: bytes) -> Record:
    for _ in range(_POLLS):
        first = await pool.fetchrow(queries.FIND_BY_KEY, command.client, command.idempotency_key)
        if first is None or (first["state"] == State.CANCELED and first["body_digest"] is None):
            break
        if first["body_digest"] is not None:
            if first["body_digest"] != digest:
                _raise_reused([problems.at("", "Differs from the first request")])
            return first
        await asyncio.sleep(_POLL_SECONDS)
    raise ImportTakenOver("Another request with this Idempotency-Key is uploading this import, or it was canceled.")


def _raise_reused(errors: list[dict[str, str]]) -> NoReturn:
    raise RequestIdReused("This Idempotency-Key was used before with another import.", errors=errors)


async def _digested(body: AsyncIterator[bytes], digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for chunk in body:
        digest.update(chunk)
        yield chunk


async def _merged(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Merge small chunks, so that each statement stages a worthwhile number of rows."""
    parts: list[bytes] = []
    size = 0
    async for chunk in body:
        parts.append(chunk)
        size += len(chunk)
        if size >= _BATCH_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _batches(records: Iterable[Staged]) -> Iterable[list[Staged]]:
    batch: list[Staged] = []
    for record in chain(records, [None]):
        if batch and (record is None or len(batch) >= _BATCH_ROWS):
            yield batch
            batch = []
        if record is not None:
            batch.append(record)
