"""Hands events over to subscribers and delivers them. Where there is no subscriber, it does nothing at all.

A look feeds what history has gained, claims what is due for subscribers that are well, and starts a batch for each.
Batches run beside the looks, one at a time for each subscriber, so that a slow one holds up no other.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from shared.contract.ids import UUID, uuid7
from shared.contract.key_ring import KeyRing
from shared.db.pool import Pool, Record
from shared.observability.logs import get_logger
from shared.webhooks.message import Message
from shared.webhooks.secret import OLD_SECRET_SECONDS
from shared.webhooks.subscriber_queries import DISABLE_IF_ACTIVE
from shared.webhooks.verdicts import Gone
from shared.worker.loops import LoopFailures
from shared.worker.schedule import WakeupFanout

from ..process_names import WORKER
from . import queries
from .events import EVENTS
from .retry_policy import Retried, Settled, Settlement, decide_next

if TYPE_CHECKING:  # loaded for the first subscriber
    from shared.webhooks.calls import SubscriberCalls

_log = get_logger(__name__)

# Deliveries of a subscriber that wait: as events happen, and of replays, which leave the others room.
MAX_WAITING, MAX_REPLAYED = 10_000, 1_000
_ENTRIES = 500
# One batch of a subscriber, and its name among what fails.
_BATCH, _BATCH_NAME = 100, "webhook-batch"
_LOOK_SECONDS = 1.0
# Without a subscriber nothing is looked for: the rescue's look tells of the first one.
_NO_SUBSCRIBER_SECONDS = 3600.0
_GIVE_UP_EVERY_SECONDS = 60.0
_GIVE_UP_AT_ONCE = 1_000


class Notifier:
    """A loop (`shared.worker.loops`). Any number of workers may run it. `counts` says how deliveries went so far."""

    name = "webhooks"

    def __init__(
        self,
        pool: Pool,
        ring: KeyRing,
        *,
        timeout_seconds: float,
        allow_private: bool,
        give_up_seconds: float,
        wake: WakeupFanout | None = None,
        failures: LoopFailures | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._ring = ring
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._give_up_seconds = give_up_seconds
        self._wake = wake or WakeupFanout()
        self._failures = failures or LoopFailures()
        self._clock = clock
        self._calls: SubscriberCalls | None = None
        self._has_subscribers = False
        self._waiting, self._oldest_seconds = 0, 0.0
        self._gave_up_at = float("-inf")
        self._busy: dict[UUID, asyncio.Task[None]] = {}

    def pause_seconds(self) -> float:
        return _LOOK_SECONDS if self._has_subscribers else _NO_SUBSCRIBER_SECONDS

    def detail(self) -> dict[str, Any]:
        """For the heartbeat: how deliveries went so far, and what waited at the last look."""
        return {"rows": dict(self.counts), "waiting": self._waiting, "oldest_seconds": self._oldest_seconds}

    def subscribers_found(self) -> None:
        """Another loop's look found subscribers: begin to look for what they are owed."""
        if not self._has_subscribers:
            self._wake.set()

    async def run_once(self) -> bool:
        """Feed, claim and start batches. Commits each step. True: there is more to feed."""
        rows = await self._pool.fetch(
            queries.FEED, list(EVENTS), MAX_WAITING, MAX_REPLAYED, _ENTRIES, self._give_up_seconds, OLD_SECRET_SECONDS
        )
        self._has_subscribers = bool(rows)
        self._waiting = sum(row["deliveries"] for row in rows)
        self._oldest_seconds = max((row["oldest_seconds"] or 0.0 for row in rows), default=0.0)
        if not rows:
            return False
        await self._give_up_expired()
        await self._start_batches({row["id"]: row for row in rows if row["is_owed"]})
        return bool(rows[0]["more"])

    async def _give_up_expired(self) -> None:
        if self._clock() - self._gave_up_at < _GIVE_UP_EVERY_SECONDS:
            return
        for row in await self._pool.fetch(queries.GIVE_UP_EXPIRED, _GIVE_UP_AT_ONCE):
            self.counts[row["outcome"]] += row["settled"]
            _log.warning("webhooks_given_up", deliveries=row["settled"])
            if row["settled"] == _GIVE_UP_AT_ONCE:
                return  # the next look goes on
        self._gave_up_at = self._clock()

    async def _start_batches(self, owed: Mapping[UUID, Record]) -> None:
        calls = self._load_calls()
        rooms = {
            key: _BATCH if row["disabled_at"] else calls.room(key, _BATCH)
            for key, row in owed.items()
            if key not in self._busy
        }
        asked = {key: room for key, room in rooms.items() if room}
        if not asked:
            return
        lease = uuid7()
        rows = await self._pool.fetch(queries.CLAIM_DUE, list(asked), list(asked.values()), self._lease_seconds, lease)
        batches: dict[UUID, list[Record]] = defaultdict(list)
        for row in rows:
            batches[row["subscriber_id"]].append(row)
        for key, batch in batches.items():
            task = asyncio.get_running_loop().create_task(self._work_off(owed[key], batch, lease))
            self._busy[key] = task

    @property
    def _lease_seconds(self) -> float:
        # The last call of a batch starts when the first one times out at the latest.
        return 2 * self._timeout_seconds + 15

    def _load_calls(self) -> "SubscriberCalls":
        if self._calls is None:
            from shared.webhooks.calls import SubscriberCalls  # noqa: PLC0415 - httpcore, for the first subscriber

            self._calls = SubscriberCalls(
                self._ring, timeout_seconds=self._timeout_seconds, allow_private=self._allow_private, clock=self._clock
            )
        return self._calls

    async def _work_off(self, subscriber: Record, batch: Sequence[Record], lease: UUID) -> None:
        try:
            deadline = self._load_calls().deadline()
            settlements = await asyncio.gather(*(self._deliver(subscriber, row, deadline) for row in batch))
            await self._settle(subscriber["id"], batch, settlements, lease)
        except Exception as error:  # noqa: BLE001 - one bad batch must not end the loop; its lease brings the rows back
            self._failures.failed(_BATCH_NAME, error)
        else:
            self._failures.succeeded(_BATCH_NAME)
        finally:
            del self._busy[subscriber["id"]]
            # What waited for these rows, or for a place, may be claimed.
            self._wake.set()

    async def _deliver(self, subscriber: Record, row: Record, deadline: float) -> Settlement:
        if subscriber["disabled_at"]:
            return Settled("canceled", None, "The subscriber is disabled", called=False)
        message = Message(row["id"], row["event"], row["occurred_at"], orjson.loads(row["data"]), row["traceparent"])
        verdict = await self._load_calls().call(subscriber, message, deadline=deadline)
        if isinstance(verdict, Gone):
            await self._pool.execute(DISABLE_IF_ACTIVE, subscriber["id"], verdict.reason, WORKER)
        return decide_next(row["attempts"], verdict, claimed_at=row["claimed_at"], expires_at=row["expires_at"])

    async def _settle(
        self, subscriber_id: UUID, batch: Sequence[Record], settlements: Sequence[Settlement], lease: UUID
    ) -> None:
        """A row that another lease holds by now is left alone and counted, and so is one of a deleted subscriber."""
        pairs = list(zip((row["id"] for row in batch), settlements, strict=True))
        settled = [(key, s.outcome, s.status, s.error, int(s.called)) for key, s in pairs if isinstance(s, Settled)]
        retried = [
            (key, s.delay_seconds, s.status, s.error, int(s.called)) for key, s in pairs if isinstance(s, Retried)
        ]
        written = 0
        if settled:
            for row in await self._pool.fetch(queries.SETTLE_IF_LEASED, lease, subscriber_id, *_columns(settled)):
                self.counts[row["outcome"]] += row["settled"]
                written += row["settled"]
        if retried:
            again = await self._pool.fetchval(queries.RETRY_IF_LEASED, lease, subscriber_id, *_columns(retried))
            self.counts["retried"] += again
            written += again
        lost = len(batch) - written
        if lost:
            self.counts["lease_lost"] += lost
            _log.warning("lease_lost", webhooks=lost)

    async def drain(self, seconds: float) -> None:
        """Wait for the batches under way."""
        if self._busy:
            await asyncio.wait(self._busy.values(), timeout=seconds)

    async def close(self) -> None:
        """Ends the batches: their leases bring the rows back."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._calls is not None:
            await self._calls.close()


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
