"""Looks for work that is rare, in one statement for all of it, and wakes the loops that do it.

Those loops would else each look for themselves, every second, and find nothing.
"""

from shared.db.pool import Pool
from shared.worker.schedule import WakeupFanout

from .imports.cleanup import ABANDONED_SECONDS

# $1 seconds after which an upload is abandoned.
FIND_RARE_WORK = """
SELECT
    EXISTS (
        SELECT FROM imports
        WHERE state IN ('running', 'paused')
           OR (state = 'receiving' AND received_at < now() - make_interval(secs => $1))
           OR (state IN ('failed', 'canceled') AND cleaned_at IS NULL)
    ) AS imports,
    EXISTS (SELECT FROM reconciliation_runs WHERE state = 'running' AND due_at <= now()) AS reconciliation
"""


class RareWork:
    """A loop (`shared.worker.loops`)."""

    name = "rare-work"

    def __init__(self, pool: Pool, *, imports: WakeupFanout, reconciliation: WakeupFanout) -> None:
        self._pool = pool
        self._imports = imports
        self._reconciliation = reconciliation

    async def run_once(self) -> bool:
        found = await self._pool.fetchrow(FIND_RARE_WORK, float(ABANDONED_SECONDS))
        assert found is not None
        if found["imports"]:
            self._imports.set()
        if found["reconciliation"]:
            self._reconciliation.set()
        return False
