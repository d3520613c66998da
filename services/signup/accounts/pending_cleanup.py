"""Removing accounts that nobody verified: addresses of people who never answered are not kept for ever.

They go the way of an erasure, which frees the address, and are mailed nothing. Nobody who was ever verified is touched:
only `pending` users are looked at, and the database lets none of them have been verified.
"""

from collections import Counter

from shared.db.pool import Pool
from shared.observability.logs import get_logger

from . import erase_queries as queries
from .effect_policy import EffectPolicy
from .erase import erase_locked

_log = get_logger(__name__)

PENDING_REMOVED = "user.pending_removed"
# Small enough that nobody who signs up again at that moment waits long for the lock.
_BATCH = 100


class PendingCleanup:
    """A loop (`shared.worker.loops`). `days` of silence: no signup, no mail that waits or was handed over. 0: never."""

    name = "cleaning"

    def __init__(self, pool: Pool, policy: EffectPolicy, *, days: int, batch: int = _BATCH) -> None:
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._policy = policy
        self._days = days
        self._batch = batch

    async def run_once(self) -> bool:
        """One batch, one commit; says whether there may be more."""
        if not self._days:
            return False
        async with self._pool.acquire() as connection, connection.transaction():
            people = await connection.fetch(queries.LOCK_STALE_PENDING, self._days, self._batch)
            if people:
                await erase_locked(connection, people, kind=PENDING_REMOVED, actor="signup-worker", policy=self._policy)
        if people:
            self.counts["cleaned"] += len(people)
            _log.info("pending_accounts_removed", rows=len(people))
        return len(people) == self._batch
