"""Take over mails whose worker went silent."""

import time
from collections.abc import Callable

from shared.db.pool import Pool, Record
from shared.observability.logs import get_logger
from shared.observability.spans import OFF, Tracing
from shared.worker.claim_floor import ClaimFloor

from . import queries
from .claim import snapshot_of
from .deduplication import KeyUse, read_key_uses
from .overdue_leases import Key, OverdueLeases
from .recorder import AttemptEnd, Recorder
from .retry_policy import RetryPolicy, decide_next
from .smtp_outcomes import Outcome, Verdict, own_fault
from .spans import record_rescue_span
from .states import Phase

_log = get_logger(__name__)

_BATCH = 500


class Rescue:
    """A loop (`shared.worker.loops`): takes over abandoned leases and settles them by the phase on record.

    `overdue` decides which those are: after a database outage, or a step of its clock, every lease is overdue although
    its worker lives. A worker that is slower than it allows for is fenced out: its later writes change nothing.
    """

    name = "rescue"

    def __init__(
        self,
        pool: Pool,
        recorder: Recorder,
        policy: RetryPolicy,
        overdue: OverdueLeases,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        tracing: Tracing = OFF,
        on_subscribers: Callable[[], None] | None = None,
    ) -> None:
        """`on_subscribers` is called by every look that finds webhook subscribers."""
        self._pool = pool
        self._recorder = recorder
        self._policy = policy
        self._overdue = overdue
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._tracing = tracing
        self._on_subscribers = on_subscribers
        self._floor = ClaimFloor()
        self.rescued = 0

    async def run_once(self) -> bool:
        """Look once; commits takeovers and their settlements. True: there may be more."""
        now = self._clock()
        self._overdue.begin(now)
        found = await self._pool.fetch(queries.FIND_OVERDUE, _BATCH, self._floor.begin(now))
        if self._on_subscribers is not None and found[0]["has_subscribers"]:
            self._on_subscribers()
        rows = [row for row in found if row["mail_id"] is not None]
        looked_at = found[0]["looked_at"]
        # The next look must see again what this one saw.
        self._floor.advance(looked_at, min((row["due_at"] for row in rows), default=None))
        abandoned = self._overdue.advance([(row["mail_id"], row["lease"]) for row in rows], looked_at, self._clock())
        if not abandoned:
            return False
        await self._take_over(abandoned)
        return len(rows) == _BATCH

    async def _take_over(self, abandoned: list[Key]) -> None:
        mail_ids, leases = [mail_id for mail_id, _ in abandoned], [lease for _, lease in abandoned]
        taken = await self._pool.fetch(queries.TAKE_OVER_IF_OVERDUE, mail_ids, leases, self._lease_seconds)
        self._overdue.forget(abandoned)
        for row in taken:
            ending = self._ending(row)
            if await self._recorder.settle(ending):
                self.rescued += 1
                _log.warning(
                    "mail_rescued", mail_id=str(row["mail_id"]), phase=row["phase"], state=ending.settlement.state
                )
                record_rescue_span(self._tracing, row, ending)

    def _ending(self, row: Record) -> AttemptEnd:
        uses, line = read_key_uses(row["key_uses"]), row["idempotency_header"]
        key_use = None
        if line is not None:
            # The row of the attempt may be newer than `uses`.
            key_use = next(
                (use for use in uses if (use.gateway, use.line) == (row["gateway"], line)),
                KeyUse(row["gateway"], line, row["ask_until"]),
            )
        verdict = verdict_on(row["phase"])
        settlement = decide_next(
            snapshot_of(row, uses), verdict, row["now"], self._policy, worker_lost=True, key_use=key_use
        )
        return AttemptEnd(
            row["mail_id"], row["attempt"], row["lease"], row["gateway"], settlement, idempotency_header=line
        )


def verdict_on(phase: str | None) -> Verdict:
    """The verdict on an attempt whose worker was lost, by the phase on record."""
    if phase == Phase.TRANSMITTING:
        return Verdict(Outcome.UNKNOWN, "worker lost after the body had started")
    return own_fault("worker lost before the body left")
