"""Removes accounts that were never verified, so that addresses of unconfirmed signups are not kept forever.

Removal is an erasure: it frees the address and mails nothing. It never touches a verified user: it selects `pending`
users only, and a CHECK ensures that none of those was ever verified.
"""

from collections import Counter

from shared.db.pool import Pool
from shared.observability.logs import get_logger

from ..accounts.effect_policy import EffectPolicy
from . import queries
from .erase import erase_locked

_log = get_logger(__name__)

PENDING_REMOVED = "user.pending_removed"
# Small, so that a concurrent signup of one of these addresses does not wait long for the lock.
_BATCH = 100


class PendingCleanup:
    """A loop (`shared.worker.loops`). `days` without a signup, a pending mail or a delivered one; 0: never."""

    name = "cleaning"

    def __init__(self, pool: Pool, policy: EffectPolicy, *, days: int, batch: int = _BATCH) -> None:
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._policy = policy
        self._days = days
        self._batch = batch

    async def run_once(self) -> bool:
        """Remove one batch in one commit. Returns whether more may be due."""
        if not self._days:
            return False
        async with self._pool.acquire() as connection, connection.transaction():
            users = await connection.fetch(queries.LOCK_STALE_PENDING, self._days, self._batch)
            if users:
                await erase_locked(connection, users, kind=PENDING_REMOVED, actor="signup-worker", policy=self._policy)
        if users:
            self.counts["cleaned"] += len(users)
            _log.info("pending_accounts_removed", rows=len(users))
        return len(users) == self._batch
