"""Cleans up after imports: fails abandoned uploads, deletes rows that will never be processed, and moves the mails that
the relay had claimed when their import was paused or canceled.
"""

from shared.db.pool import Pool
from shared.observability.logs import get_logger

from ..accounts.effect_policy import EffectPolicy
from . import operator_action_queries as queries
from .operator_actions import move_mails

_log = get_logger(__name__)

# A client may be slow, but one that sends nothing for this long is gone.
ABANDONED_SECONDS = 15 * 60
_ABANDONED = "The upload did not finish; send the body again with the same Idempotency-Key"
_BATCH_ROWS = 5000


class ImportCleanup:
    """A loop (`shared.worker.loops`)."""

    name = "imports-cleanup"

    def __init__(self, pool: Pool, policy: EffectPolicy) -> None:
        self._pool = pool
        self._policy = policy

    async def run_once(self) -> bool:
        """Process one batch of each import, in separate commits. Returns whether there is more."""
        await self._pool.execute(queries.FAIL_ABANDONED, float(ABANDONED_SECONDS), _ABANDONED)
        more = False
        for row in await self._pool.fetch(queries.LIST_NOT_CLEANED):
            moved = await move_mails(self._pool, row["id"], self._policy.give_up_seconds)
            deleted = await self._pool.fetchval(queries.DELETE_UNPROCESSED, row["id"], _BATCH_ROWS)
            if not moved and not deleted:
                await self._pool.execute(queries.MARK_CLEANED, row["id"])
            more = more or bool(moved or deleted)
        return more
