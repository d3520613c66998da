"""Group commit: writes of many connections become one statement and share one disk flush (decision 8).

While one commit is in flight the next one fills. Every write is fenced by its lease; the caller learns whether the
lease was still held.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from shared.db.pool import Pool
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger
from shared.worker.backoff import full_jitter

from . import queries
from .deduplication import KeyUse
from .retry_policy import Settlement

_log = get_logger(__name__)

# Rows of one statement. A larger batch gains nothing.
_MAX_BATCH = 500
# Connections wait for this record; gathering them doubles the mails per commit, measured on 8 connections.
_TRANSMISSION_GAP_SECONDS = 0.0005
# No connection waits for this record, but a crash in this gap leaves accepted mails in doubt: keep it short.
_ENDING_GAP_SECONDS = 0.005
# The statement or its data is at fault, so a retry cannot help. Any other error may pass: a killed server causes many
# kinds of errors, some of them asyncpg's own, and an accepted mail must not become uncertain because of one.
_PERMANENT_ERRORS: tuple[type[BaseException], ...] = (
    ValueError,
    TypeError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.SyntaxOrAccessError,
)


@dataclass(frozen=True, slots=True)
class Transmission:
    mail_id: UUID
    n: int
    lease: UUID
    gateway: str
    # None: now.
    claimed_at: datetime | None = None
    # For a gateway that deduplicates.
    key_use: KeyUse | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    mail_id: UUID
    n: int
    lease: UUID
    gateway: str | None
    settlement: Settlement
    # For an attempt that is not on record yet. None: now.
    claimed_at: datetime | None = None
    # As the attempt carried it, for history.
    idempotency_header: str | None = None


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A mail that was claimed and never offered to a gateway."""

    mail_id: UUID
    lease: UUID
    due_in_seconds: float = 0.0


Item = TypeVar("Item", Transmission, AttemptEnd, GivenBack)
_Batch: TypeAlias = list[tuple[Item, asyncio.Future[bool]]]


class GroupCommit(Generic[Item]):
    """Collects items while the previous write is in flight, and writes them together."""

    def __init__(
        self, write: Callable[[Sequence[Item]], Awaitable[set[UUID]]], *, keep_trying: bool, gap_seconds: float = 0.0
    ) -> None:
        self._write: Callable[[Sequence[Item]], Awaitable[set[UUID]]] = write
        self._keep_trying = keep_trying
        self._gap_seconds = gap_seconds
        self._waiting: _Batch[Item] = []
        self._writing: _Batch[Item] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> bool:
        """True when committed, False when the lease was lost.

        Raises:
            Exception: the write failed, with `keep_trying` for good. It may have been committed or not.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return await done

    async def _flush(self) -> None:
        try:
            while self._waiting:
                if self._gap_seconds:
                    await asyncio.sleep(self._gap_seconds)
                self._writing, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                await self._write_batch(self._writing)
        finally:
            self._task = None

    async def _write_batch(self, batch: _Batch[Item]) -> None:
        failures = 0
        while True:
            try:
                held = await self._write([item for item, _ in batch])
            except _PERMANENT_ERRORS as error:
                await self._write_each(batch, error)
                return
            except Exception as error:  # noqa: BLE001 - see _PERMANENT_ERRORS
                failures += 1
                _log.warning("attempt_write_failed", records=len(batch), error=describe(error))
                if not self._keep_trying:
                    _fail(batch, error)
                    return
                await asyncio.sleep(full_jitter(failures, base_seconds=0.1, cap_seconds=1.0))
            else:
                for item, done in batch:
                    if not done.done():
                        done.set_result(item.lease in held)
                return

    async def _write_each(self, batch: _Batch[Item], error: BaseException) -> None:
        """One bad record fails its whole statement, so each record is written alone."""
        if len(batch) == 1:
            _log.error("attempt_write_rejected", exc_info=error)
            _fail(batch, error)
            return
        for entry in batch:
            await self._write_batch([entry])

    async def close(self) -> None:
        """Stop trying. Unwritten mails stay as they are on record, for the rescue; waiting callers are canceled."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for _, done in [*self._writing, *self._waiting]:
            done.cancel()
        self._waiting = []


def _fail(batch: Sequence[tuple[object, asyncio.Future[bool]]], error: BaseException) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)


class Recorder:
    """Writes how far attempts got and how they ended."""

    def __init__(self, pool: Pool, suppression_days: int = 30) -> None:
        self._pool = pool
        self._suppression_days = suppression_days
        # Mails settled since the process started, by new state.
        self.states: Counter[str] = Counter()
        # Renewals and settlements touch the same queue rows; run concurrently, they could deadlock.
        self.queue_lock = asyncio.Lock()
        self._transmissions = GroupCommit(
            self._write_transmissions, keep_trying=False, gap_seconds=_TRANSMISSION_GAP_SECONDS
        )
        # A mail that was accepted must not become uncertain because of a short database outage.
        self._endings = GroupCommit(self._write_endings, keep_trying=True, gap_seconds=_ENDING_GAP_SECONDS)
        self._returns = GroupCommit(self._write_returns, keep_trying=True, gap_seconds=_ENDING_GAP_SECONDS)

    async def transmitting(self, transmission: Transmission) -> bool:
        """Commit that the body is about to leave. False: the lease is lost.

        Raises:
            Exception: the write failed; it may be on record or not.
        """
        return await self._transmissions.submit(transmission)

    async def settle(self, ending: AttemptEnd) -> bool:
        """Commit how an attempt ended and what follows from it. Waits for as long as the database is down.

        False: the lease was lost and nothing changed.
        """
        held = await self._endings.submit(ending)
        self.states[ending.settlement.state] += held
        return held

    async def give_back(self, mail: GivenBack) -> bool:
        """Commit that a mail waits again as if it had not been claimed. Waits for as long as the database is down.

        False: the lease was lost and nothing changed.
        """
        return await self._returns.submit(mail)

    async def close(self) -> None:
        await self._transmissions.close()
        await self._endings.close()
        await self._returns.close()

    async def _write_transmissions(self, items: Sequence[Transmission]) -> set[UUID]:
        rows = await self._pool.fetch(
            queries.TRANSMIT_IF_LEASED,
            [item.mail_id for item in items],
            [item.n for item in items],
            [item.lease for item in items],
            [item.gateway for item in items],
            [item.claimed_at for item in items],
            [item.key_use.line if item.key_use else None for item in items],
            [item.key_use.ask_until if item.key_use else None for item in items],
        )
        return {row["lease"] for row in rows}

    async def _write_endings(self, items: Sequence[AttemptEnd]) -> set[UUID]:
        rows = [_columns(item) for item in items]
        async with self.queue_lock:
            columns = map(list, zip(*rows, strict=True))
            held = await self._pool.fetch(
                queries.SETTLE_IF_LEASED,
                *columns,
                self._suppression_days,
                [item.claimed_at for item in items],
                [item.idempotency_header for item in items],
            )
        return {row["lease"] for row in held}

    async def _write_returns(self, items: Sequence[GivenBack]) -> set[UUID]:
        async with self.queue_lock:
            rows = await self._pool.fetch(
                queries.GIVE_BACK_IF_LEASED,
                [item.mail_id for item in items],
                [item.lease for item in items],
                [item.due_in_seconds for item in items],
            )
        return {row["lease"] for row in rows}


def _columns(ending: AttemptEnd) -> tuple[object, ...]:
    """In the order of SETTLE_IF_LEASED's parameters."""
    settlement = ending.settlement
    verdict = settlement.verdict
    return (
        ending.mail_id,
        ending.n,
        ending.lease,
        ending.gateway,
        verdict.outcome,
        verdict.outcome.counted,
        verdict.code,
        verdict.enhanced_code,
        verdict.reply,
        settlement.state,
        settlement.kind,
        settlement.reason,
        settlement.due_in_seconds,
        verdict.suppresses,
    )
