"""Compares both ledgers over a closed window, step by step, and reports the differences.

A step claims the oldest run, reads, and stores findings, counts and position in one fenced commit. When a worker is
killed, the next one continues from that position. Calls happen between the commits, with no transaction open.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from shared.contract.ids import UUID, uuid7
from shared.db.pool import UNAVAILABLE, Pool, Record
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger
from shared.worker.backoff import equal_jitter

from ..outbox.retry_policy import PeerFaultError
from ..process_names import WORKER
from . import queries
from .feed_follower import FeedFollower
from .feed_queries import LEARN_OF_LOST_MAILS
from .repair import Repairer
from .scan import LedgerScan, Run, Step

_log = get_logger(__name__)

# About half a minute without an answer: then the run fails instead of being `running` for ever.
_MAX_FAULTS = 8
_LONGEST_PAUSE_SECONDS = 1.0
_FINDING_COLUMNS = ("kind", "request_id", "mail_id", "user_id", "reason", "mark", "repairable")
_LOST_COLUMNS = ("request_id", "mail_id", "state", "message_id", "fingerprint", "sent_at", "lost_at")


class Reconciler:
    """A loop (`shared.worker.loops`)."""

    name = "reconciler"

    def __init__(
        self,
        pool: Pool,
        follower: FeedFollower,
        scan: LedgerScan,
        repairer: Repairer,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pool = pool
        self._follower = follower
        self._repairer = repairer
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._pause = pause
        # In this order. Waiting rows come before settled ones: a row that settles meanwhile is seen twice, not missed.
        self._phases: dict[str, Callable[[Run], Awaitable[Step]]] = {
            "waiting": self._catch_up,
            "pending": scan.pending,
            "settled": scan.settled,
            "ledger": scan.ledger,
            "users": scan.users,
            "restore": self._restore,
            "requeue": self._requeue,
            "serve": self._serve,
        }

    async def run_once(self) -> bool:
        """Takes one step of the oldest run; returns whether there is more to do. Commits the claim, then the step.

        Then it pauses for as long as the step took: half of the time belongs to work that people wait for.
        A run whose steps keep failing ends as `failed`, and its verdict stays `incomplete`.
        """
        lease, began = uuid7(), self._clock()
        row = await self._pool.fetchrow(queries.CLAIM_OLDEST_RUN, lease, self._lease_seconds)
        if row is None:
            return False
        try:
            await self._take_step(_run(row, lease), row["phase"])
        except UNAVAILABLE:
            raise
        except Exception as error:  # noqa: BLE001 - the run must end after any error
            await self._postpone(row["id"], lease, row["faults"], error)
        await self._pause(min(self._clock() - began, _LONGEST_PAUSE_SECONDS))
        return True

    async def _take_step(self, run: Run, phase: str) -> None:
        perform = self._phases.get(phase)
        if perform is None:
            verdict = await self._pool.fetchval(queries.FINISH_IF_LEASED, run.id, run.lease, WORKER)
            _log.info("reconciliation_finished", run=str(run.id), verdict=verdict)
            return
        step = await perform(run)
        if step.lost:
            # Even if the lease is lost by now: what was sent stays sent.
            await self._pool.execute(LEARN_OF_LOST_MAILS, *_columns(step.lost, _LOST_COLUMNS))
        columns = _columns(step.findings, _FINDING_COLUMNS)
        position = None if step.position is None else orjson.dumps(step.position).decode()
        kept = await self._pool.fetchval(
            queries.KEEP_STEP_IF_LEASED, run.id, run.lease, step.phase, position, step.compared, *columns
        )
        if not kept:
            _log.warning("lease_lost", loop=self.name, run=str(run.id))

    async def _postpone(self, run: UUID, lease: UUID, faults: int, error: Exception) -> None:
        message = str(error) if isinstance(error, PeerFaultError) else describe(error)
        _log.warning("reconciliation_step_failed", run=str(run), error=message)
        if faults + 1 >= _MAX_FAULTS:
            await self._pool.execute(queries.FAIL_IF_LEASED, run, lease, message, WORKER)
            return
        wait = equal_jitter(faults + 1, base_seconds=1.0, cap_seconds=8.0)
        await self._pool.execute(queries.POSTPONE_IF_LEASED, run, lease, message, wait)

    async def _catch_up(self, _run: Run) -> Step:
        """Updates this ledger from the feed first: a mail that it knows as sent is never requested again."""
        return Step("waiting" if await self._follower.follow() else "pending")

    async def _restore(self, run: Run) -> Step:
        return self._next("restore", "requeue", await self._repairer.restore(run.id, run.lease, run.after))

    async def _requeue(self, run: Run) -> Step:
        return self._next("requeue", "serve", await self._repairer.requeue(run.id, run.lease, run.after))

    async def _serve(self, run: Run) -> Step:
        return self._next("serve", "finish", await self._repairer.serve(run.id, run.lease, run.after))

    @staticmethod
    def _next(phase: str, following: str, last: UUID | None) -> Step:
        return Step(following) if last is None else Step(phase, str(last))


class Schedule:
    """A loop: requests a run an hour after the last one began, or when that has ended. Commits the request."""

    name = "reconciliation-schedule"

    def __init__(self, pool: Pool, *, lag_seconds: float) -> None:
        self._pool = pool
        self._lag_seconds = lag_seconds

    async def run_once(self) -> bool:
        await self._pool.execute(queries.SCHEDULE_IF_DUE, WORKER, self._lag_seconds)
        return False


def _run(row: Record, lease: UUID) -> Run:
    position = orjson.loads(row["position"]) if row["position"] else None
    return Run(row["id"], lease, row["window_from"], row["window_to"], row["repair"], position, row["now"])


def _columns(items: Sequence[object], names: Sequence[str]) -> list[list[Any]]:
    return [[getattr(item, name) for item in items] for name in names]
