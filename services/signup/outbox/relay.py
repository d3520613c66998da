"""Performs the claimed rows of one kind of effect, a batch at a time, and settles each row.

The peer's verdict on a row settles it. Without one, the breaker counts a fault and the rows are released (P9).
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from shared.contract.ids import UUID
from shared.db.pool import Pool
from shared.observability.logs import get_logger
from shared.observability.spans import OFF, Tracing
from shared.worker.circuit_breaker import Breaker

from . import queries
from .effect_registry import Effect, RestingEffect, SettlingEffect
from .retry_policy import Cancel, ClaimedRow, DeadLetter, Deliver, Outcome, PeerFaultError, Retry, decide_next
from .spans import RowSpans

_log = get_logger(__name__)


class Relay:
    """Performs the rows of one effect that the dispatcher claimed. `counts` says how rows were settled so far."""

    def __init__(
        self,
        pool: Pool,
        effect: Effect,
        *,
        breaker: Breaker,
        batch: int,
        lease_seconds: float,
        at_once: int = 1,
        tracing: Tracing = OFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.effect = effect.name
        self.name = f"relay-{effect.name}"
        self.counts: Counter[str] = Counter()
        self.breaker = breaker
        self.lease_seconds = lease_seconds
        # Batches in a row that ended in a fault of our own.
        self.failures = 0
        self._pool = pool
        self._effect = effect
        self._settle_delivered = (
            effect.settle_delivered if isinstance(effect, SettlingEffect) else queries.SETTLE_DELIVERED_IF_LEASED
        )
        self._rest_seconds = effect.rest_seconds if isinstance(effect, RestingEffect) else 0.0
        self._max_batch = batch
        # Halved by each fault, doubled by each answer: a row that breaks the peer is soon alone in its batch.
        self._batch = batch
        self._places = at_once
        self._rests_until = self._paused_until = -math.inf
        self._tracing = tracing
        self._clock = clock

    @property
    def has_place(self) -> bool:
        """Whether another batch may start beside those under way."""
        return self._places > 0 and self._clock() >= self._paused_until

    @property
    def rest_left(self) -> float:
        """For how many seconds it leaves its rows for a later claim, so that more of them share a batch."""
        return max(0.0, self._rests_until - self._clock())

    def room(self) -> int:
        """How many rows it can take now. A caller that gets more than none calls `begin` or `breaker.unused`."""
        return self.breaker.allowance(self._batch) if self.has_place and not self.rest_left else 0

    def begin(self, *, full: bool) -> None:
        """A batch begins. `full`: it has as many rows as there was room for, so more may wait already."""
        self._places -= 1
        self._rests_until = -math.inf if full else self._clock() + self._rest_seconds

    def end(self, *, pause_seconds: float) -> None:
        """A batch has ended. `pause_seconds` above 0: in a fault of our own, so that the next one waits."""
        self._places += 1
        self.failures = self.failures + 1 if pause_seconds else 0
        self._paused_until = self._clock() + pause_seconds

    async def work_off(self, rows: Sequence[ClaimedRow], lease: UUID, *, seconds_ago: float) -> None:
        """Perform `rows`, which were claimed `seconds_ago`, and settle each. Commits each kind of settlement."""
        with RowSpans(self._tracing, self.effect, rows, seconds_ago=seconds_ago) as spans:
            try:
                outcomes = await self._effect.perform(spans.entries)
            except PeerFaultError as fault:
                await self._release(spans, lease, fault)
                return
            except BaseException:
                # An internal fault, or the process is ending. The rows are due again when the lease ends.
                self.breaker.unused()
                raise
            self.breaker.succeeded()
            self._batch = min(self._max_batch, self._batch * 2)
            await self._settle(spans, outcomes, lease)

    async def _release(self, spans: RowSpans, lease: UUID, fault: PeerFaultError) -> None:
        ids = [entry.id for entry in spans.entries]
        self.breaker.faulted(str(fault))
        self._batch = max(1, len(ids) // 2)
        _log.warning("relay_peer_fault", effect=self._effect.name, rows=len(ids), error=str(fault))
        await self._write(spans, "released", queries.RELEASE_IF_LEASED, lease, ids, str(fault))

    async def _settle(self, spans: RowSpans, outcomes: Mapping[UUID, Outcome], lease: UUID) -> None:
        steps = [(entry.id, decide_next(entry, outcomes[entry.id])) for entry in spans.entries]
        delivered = [(key, orjson.dumps(step.result).decode()) for key, step in steps if isinstance(step, Deliver)]
        retried = [
            (k, step.delay_seconds, step.error, int(step.counted)) for k, step in steps if isinstance(step, Retry)
        ]
        canceled = [(key, step.reason) for key, step in steps if isinstance(step, Cancel)]
        dead = [(key, step.error) for key, step in steps if isinstance(step, DeadLetter)]
        if delivered:
            await self._write(spans, "delivered", self._settle_delivered, lease, *_columns(delivered))
        if retried:
            await self._write(spans, "retried", queries.SETTLE_RETRY_IF_LEASED, lease, *_columns(retried))
        if canceled:
            await self._write(spans, "canceled", queries.SETTLE_CANCELED_IF_LEASED, lease, *_columns(canceled))
        if dead:
            await self._write(spans, "dead", queries.SETTLE_DEAD_IF_LEASED, lease, *_columns(dead))
            _log.warning("outbox_dead", effect=self._effect.name, rows=[str(key) for key, _ in dead])

    async def _write(
        self, spans: RowSpans, outcome: str, query: str, lease: UUID, ids: Sequence[UUID], *columns: object
    ) -> None:
        """Runs one fenced statement over `ids`. A row that another lease holds by now is left alone and counted."""
        written = await self._pool.fetchval(query, lease, ids, *columns)
        self.counts[outcome] += written
        lost = len(ids) - written
        # The statement does not say which rows were lost.
        spans.end(ids, f"{outcome}, or its lease lost" if lost else outcome)
        if lost:
            self.counts["lease_lost"] += lost
            _log.warning("lease_lost", effect=self._effect.name, rows=lost, while_writing=outcome)


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
