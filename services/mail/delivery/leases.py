"""The leases that this process holds, and their renewal.

A lease is short (15 s) and the wait after the dot is long (10 min), so every third of a lease all are renewed.
"""

import asyncio
from uuid import UUID

from shared.db.pool import Pool
from shared.observability.logs import get_logger

from . import queries

_log = get_logger(__name__)


class Leases:
    """A loop (`shared.worker.loops`): `run_once` renews all held leases in one statement.

    After a database outage an expired lease can still be renewed: no other worker can hold it under its token.
    """

    name = "lease-renewal"

    def __init__(self, pool: Pool, queue_lock: asyncio.Lock, lease_seconds: float) -> None:
        self._pool = pool
        self._queue_lock = queue_lock
        self._lease_seconds = lease_seconds
        self.renewal_seconds = lease_seconds / 3
        self._held: dict[UUID, UUID] = {}
        self.lost = 0

    def hold(self, mail_id: UUID, lease: UUID) -> None:
        self._held[lease] = mail_id

    def release(self, lease: UUID) -> None:
        self._held.pop(lease, None)

    def holds(self, lease: UUID) -> bool:
        return lease in self._held

    def lose(self, lease: UUID) -> None:
        """Another worker has the mail now: this one writes nothing more for it."""
        if self._held.pop(lease, None) is not None:
            self.lost += 1
            _log.warning("lease_lost", lost=self.lost)

    async def run_once(self) -> bool:
        """Renew all held leases in one commit. Those that the database no longer has are lost."""
        async with self._queue_lock:
            # Read under the lock: a mail that is settled before the renewal runs must not look lost.
            held = dict(self._held)
            if not held:
                return False
            rows = await self._pool.fetch(queries.RENEW_IF_LEASED, list(held.values()), list(held), self._lease_seconds)
        for lease in held.keys() - {row["lease"] for row in rows}:
            self.lose(lease)
        return False
