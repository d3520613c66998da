"""A body is staged while it arrives, in batches; the import runs once the whole body is in.

Whoever receives holds the import's `receiver` token, and every write asks for it. A second request with the same key
takes an import over that is still incomplete: its client has given up on the first one, or its API has died.
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
from .file_reader import READERS, HeaderError
from .file_reader import Record as Staged
from .states import State

# Rows are parsed and staged by these many, or these many bytes.
_BATCH_ROWS = 1000
_BATCH_BYTES = 128 * 1024
# How often, and how many times, someone who was overtaken looks whether the other request is through.
_LOOK_SECONDS, _LOOKS = 0.5, 20
_BROKEN_OFF = "The body broke off; send it again with the same Idempotency-Key"
_INCOMPLETE = (State.RECEIVING, State.FAILED)


@dataclass(frozen=True, slots=True)
class ImportCommand:
    """An import as it is asked for."""

    client: str
    actor: str
    idempotency_key: str | None
    source: str
    media: str
    dry_run: bool
    mails_per_minute: int

    def refuse_if_different(self, first: Record) -> None:
        """Raises RequestIdReused naming what the first request with this key had asked for otherwise."""
        differing = [name for name in ("source", "mails_per_minute", "dry_run") if first[name] != getattr(self, name)]
        errors = [{"parameter": name, "detail": "Differs from the first request"} for name in differing]
        if first["media"] != self.media:
            errors.append({"header": "Content-Type", "detail": "Differs from the first request"})
        if errors:
            _reused(errors)


async def receive(pool: Pool, command: ImportCommand, body: AsyncIterator[bytes]) -> tuple[Record, bool]:
    """The import, and whether it was there before. What is there when this returns is committed and will be run.

    Raises:
        RequestIdReused: the key was used for another import.
        InvalidRequest: the body cannot be an import; nothing is left behind.
        ImportTakenOver: another request with this key goes on with it, or it was canceled meanwhile.
    """
    receiver = uuid7()
    digest = hashlib.sha256()
    import_id = await _open(pool, command, receiver)
    if import_id is not None:
        started = await _stage(pool, command, import_id, receiver, _digested(body, digest))
        if started and (row := await pool.fetchrow(queries.START_IF_RECEIVING, import_id, receiver, digest.digest())):
            return row, False
    # It came in before, or comes in now by another request. The rest of the body decides whether it is the same.
    async for chunk in body:
        digest.update(chunk)
    return await _first(pool, command, digest.digest()), True


async def _open(pool: Pool, command: ImportCommand, receiver: UUID) -> UUID | None:
    """The import that is to be received now, or None when it is there as a whole."""
    here = current()
    request_id, traceparent = (here.request_id, here.traceparent) if here else (None, None)
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
            continue  # discarded just now: the key is free
        command.refuse_if_different(first)
        if first["state"] not in _INCOMPLETE:
            return None
        async with pool.acquire() as connection, connection.transaction():
            taken: UUID | None = await connection.fetchval(
                queries.TAKE_OVER_IF_INCOMPLETE, first["id"], receiver, command.actor, request_id, traceparent
            )
            if taken is not None:
                await connection.execute(queries.FORGET_STAGED_ROWS, taken)
                return taken


async def _stage(
    pool: Pool, command: ImportCommand, import_id: UUID, receiver: UUID, body: AsyncIterator[bytes]
) -> bool:
    """Stage the whole body. False: somebody else has the import now.

    Whatever ends the body early ends the import: refused bodies leave nothing, broken ones a failed import.
    """
    reader = READERS[command.media]()
    try:
        async for chunk in _gathered(body):
            for batch in _batches(reader.feed(chunk)):
                if not await _write(pool, import_id, receiver, batch):
                    return False
        return all([await _write(pool, import_id, receiver, batch) for batch in _batches(reader.end())])
    except HeaderError as error:
        await pool.execute(queries.DISCARD_IF_RECEIVING, import_id, receiver)
        raise problems.InvalidRequest(
            f"{error.column or 'The header'}: {error.detail}.",
            errors=[problems.at(f"/{error.column}" if error.column else "", error.detail)],
        ) from None
    except problems.PayloadTooLarge:
        await pool.execute(queries.DISCARD_IF_RECEIVING, import_id, receiver)
        raise
    except problems.MalformedRequest:
        await pool.execute(queries.FAIL_IF_RECEIVING, import_id, receiver, _BROKEN_OFF)
        raise


async def _write(pool: Pool, import_id: UUID, receiver: UUID, batch: list[Staged]) -> bool:
    lines, raws, reasons = zip(*((record.line, record.raw, record.reason) for record in batch), strict=True)
    return bool(await pool.fetchval(queries.STAGE_IF_RECEIVING, import_id, receiver, lines, raws, reasons))


async def _first(pool: Pool, command: ImportCommand, digest: bytes) -> Record:
    for _ in range(_LOOKS):
        first = await pool.fetchrow(queries.FIND_BY_KEY, command.client, command.idempotency_key)
        if first is None or (first["state"] == State.CANCELED and first["body_digest"] is None):
            break
        if first["body_digest"] is not None:
            if first["body_digest"] != digest:
                _reused([problems.at("", "Differs from the first request")])
            return first
        await asyncio.sleep(_LOOK_SECONDS)
    raise ImportTakenOver("Another request with this Idempotency-Key is sending this import, or it was canceled.")


def _reused(errors: list[dict[str, str]]) -> NoReturn:
    raise RequestIdReused("This Idempotency-Key was used before for another import.", errors=errors)


async def _digested(body: AsyncIterator[bytes], digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for chunk in body:
        digest.update(chunk)
        yield chunk


async def _gathered(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks of a size that is worth a statement: what comes in drops must not cost one each."""
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
