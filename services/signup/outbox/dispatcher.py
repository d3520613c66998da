"""Claims for every relay of the process at once, and hands each its rows.

One statement asks for all effects, within what each relay has room for: a relay that is busy, or whose breaker is open,
has none, and takes no place from another (P3). Wake-ups that come during a claim share the next one.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import orjson

from shared.contract.ids import UUID, uuid7
from shared.db.pool import Pool, Record
from shared.worker.backoff import full_jitter
from shared.worker.claim_floor import ClaimFloor
from shared.worker.growing_gap import GrowingGap
from shared.worker.loops import LoopFailures
from shared.worker.schedule import WakeupFanout

from . import queries
from .relay import Relay
from .retry_policy import ClaimedRow


class Dispatcher:
    """A loop (`shared.worker.loops`). `wakeup` is set when a relay has room again for rows that may be waiting."""

    name = "dispatcher"

    def __init__(
        self,
        pool: Pool,
        relays: Sequence[Relay],
        *,
        wakeup: WakeupFanout | None = None,
        failures: LoopFailures | None = None,
        gap: GrowingGap | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._relays = {relay.effect: relay for relay in relays}
        self._floors: dict[str, ClaimFloor] = defaultdict(ClaimFloor)
        self._wakeup = wakeup or WakeupFanout()
        self._failures = failures or LoopFailures()
        self._gap = gap or GrowingGap()
        self._clock = clock
        # Whether the last claim left nothing behind that could be claimed now.
        self._found_all = True
        # Relays that had no room at the last claim, or rested: rows may wait for them.
        self._hungry: set[str] = set()
        self._rested: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run_once(self) -> bool:
        """Claim what the relays have room for, and start them. Commits the claim. True: more may be due now."""
        # Rows that wait already gain nothing from a pause.
        await self._gap.leave(grow=self._found_all)
        rooms = {effect: relay.room() for effect, relay in self._relays.items()}
        asked = {effect: room for effect, room in rooms.items() if room}
        self._rested = {effect for effect, relay in self._relays.items() if relay.rest_left}
        self._hungry = rooms.keys() - asked.keys() - self._rested
        if not asked:
            return False
        lease, began = uuid7(), time.perf_counter()
        batches: dict[str, list[ClaimedRow]] = defaultdict(list)
        unused = set(asked)
        try:
            for row in await self._claim(asked, lease):
                if row["effect"] is not None:
                    batches[row["effect"]].append(_claimed_row(row))
            for effect, rows in batches.items():
                self._relays[effect].begin(full=len(rows) == asked[effect])
                self._start(self._relays[effect], rows, lease, began)
                unused.discard(effect)
        finally:
            for effect in unused:
                self._relays[effect].breaker.unused()
        full = {effect for effect, rows in batches.items() if len(rows) == asked[effect]}
        self._found_all = not full
        self._hungry |= full
        return any(self._relays[effect].has_place for effect in full)

    def rest_left(self) -> float:
        """Seconds until a relay has rested for which the last claim may have left rows; infinite when there is none."""
        return min((self._relays[effect].rest_left for effect in self._rested), default=math.inf)

    def claimed_until(self, effect: str) -> datetime:
        """Before this time, no row of the effect waits; for readers, which need not look there (ADR 0026)."""
        return self._floors[effect].claimed_until

    async def _claim(self, asked: dict[str, int], lease: UUID) -> Sequence[Record]:
        now = self._clock()
        rows = await self._pool.fetch(
            queries.CLAIM_DUE,
            list(asked),
            list(asked.values()),
            [self._floors[effect].begin(now) for effect in asked],
            [self._relays[effect].lease_seconds for effect in asked],
            lease,
        )
        for effect, room in asked.items():
            dues = [row["was_due_at"] for row in rows if row["effect"] == effect]
            self._floors[effect].advance(rows[0]["claimed_at"], max(dues) if len(dues) == room else None)
        return rows

    def _start(self, relay: Relay, rows: Sequence[ClaimedRow], lease: UUID, began: float) -> None:
        task = asyncio.get_running_loop().create_task(self._work_off(relay, rows, lease, began))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, relay: Relay, rows: Sequence[ClaimedRow], lease: UUID, began: float) -> None:
        failed = False
        try:
            await relay.work_off(rows, lease, seconds_ago=time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - one bad batch must not end the relay; its lease brings the rows back
            failed = True
            self._failures.failed(relay.name, error)
        else:
            self._failures.succeeded(relay.name)
        finally:
            relay.end(pause_seconds=full_jitter(relay.failures + 1, base_seconds=0.1, cap_seconds=2.0) if failed else 0)
            if relay.effect in self._hungry:
                self._found_all = False
                self._wakeup.set()

    async def drain(self) -> None:
        """Wait for the batches under way."""
        while self._tasks:
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*self._tasks, return_exceptions=True)


def _claimed_row(row: Record) -> ClaimedRow:
    columns = {name: value for name, value in row.items() if name not in ("effect", "was_due_at")}
    return ClaimedRow(**{**columns, "payload": orjson.loads(row["payload"])})
