"""Group commit: writes of many connections become one statement, and one disk flush serves them all (decision 8).

While one commit is on its way the next one fills. Every write is fenced by its lease; its caller learns whether it
was still held.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from shared.backoff import full_jitter
from shared.database import UNAVAILABLE, Pool
from shared.log import get_logger

from . import queries
from .mail import Settlement

_log = get_logger(__name__)

# Of arrays in one statement: beyond it nothing is gained.
_MOST = 500
# Two batches that meet in the other order: one of them just has to run again.
_RETRIABLE: tuple[type[BaseException], ...] = (*UNAVAILABLE, asyncpg.DeadlockDetectedError)


@dataclass(frozen=True, slots=True)
class Transmission:
    mail_id: UUID
    n: int
    lease: UUID
    gateway: str


@dataclass(frozen=True, slots=True)
class Ending:
    mail_id: UUID
    n: int
    lease: UUID
    gateway: str | None
    settlement: Settlement


Item = TypeVar("Item", Transmission, Ending)
_Batch: TypeAlias = list[tuple[Item, asyncio.Future[bool]]]


class GroupCommit(Generic[Item]):
    """Collects items while the previous write is in flight, and writes them together."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[set[UUID]]], *, keep_trying: bool) -> None:
        self._write: Callable[[Sequence[Item]], Awaitable[set[UUID]]] = write
        self._keep_trying = keep_trying
        self._waiting: _Batch[Item] = []
        self._writing: _Batch[Item] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> bool:
        """True when committed, False when the lease was lost.

        Raises:
            one of UNAVAILABLE: the database is away, unless this one keeps trying. It may have been committed or not.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return await done

    async def _flush(self) -> None:
        try:
            while self._waiting:
                self._writing, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._write_batch(self._writing)
        finally:
            self._task = None

    async def _write_batch(self, batch: _Batch[Item]) -> None:
        failures = 0
        while True:
            try:
                held = await self._write([item for item, _ in batch])
            except _RETRIABLE as error:
                if not self._keep_trying:
                    return _fail(batch, error)
                failures += 1
                _log.warning("outcomes_wait_for_database", outcomes=len(batch), error=type(error).__name__)
                await asyncio.sleep(full_jitter(failures, base_seconds=0.1, cap_seconds=1.0))
            except Exception as error:  # noqa: BLE001 - a fault of ours must reach whoever waits, or they wait for ever
                _log.exception("outcomes_not_written", outcomes=len(batch))
                return _fail(batch, error)
            else:
                for item, done in batch:
                    if not done.done():
                        done.set_result(item.lease in held)
                return None

    async def close(self) -> None:
        """Stop trying. What is not written stays as it is on record, for a rescue; whoever waits is cancelled."""
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
    """Writes how far attempts have come, and how they ended."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # Renewals and settlements touch the same queue rows; side by side they could lock each other out.
        self.queue_lock = asyncio.Lock()
        self._transmissions = GroupCommit(self._write_transmissions, keep_trying=False)
        # A mail that was accepted must not become uncertain because the database was away for a moment.
        self._endings = GroupCommit(self._write_endings, keep_trying=True)

    async def transmitting(self, transmission: Transmission) -> bool:
        """Commit that the body is about to leave. False: the lease is lost.

        Raises:
            one of UNAVAILABLE: it may be on record or not.
        """
        return await self._transmissions.submit(transmission)

    async def settle(self, ending: Ending) -> bool:
        """Commit how an attempt ended, with all that follows from it. Waits for as long as the database is away.

        False: the lease was lost and nothing was changed.
        """
        return await self._endings.submit(ending)

    async def close(self) -> None:
        await self._transmissions.close()
        await self._endings.close()

    async def _write_transmissions(self, items: Sequence[Transmission]) -> set[UUID]:
        rows = await self._pool.fetch(
            queries.TRANSMIT_IF_LEASED,
            [item.mail_id for item in items],
            [item.n for item in items],
            [item.lease for item in items],
            [item.gateway for item in items],
        )
        return {row["lease"] for row in rows}

    async def _write_endings(self, items: Sequence[Ending]) -> set[UUID]:
        rows = [_columns(item) for item in items]
        async with self.queue_lock:
            held = await self._pool.fetch(queries.SETTLE_IF_LEASED, *map(list, zip(*rows, strict=True)))
        return {row["lease"] for row in held}


def _columns(ending: Ending) -> tuple[object, ...]:
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
