"""Whether other workers have connections to a gateway, as their heartbeats say (ADR 0023)."""

from shared.db.pool import UNAVAILABLE, Pool
from shared.worker.heartbeats import process_name

from ...process_names import WORKER
from . import queries


class OtherWorkers:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._own = f"{WORKER}/{process_name()}"

    async def are_connected(self, gateway: str) -> bool:
        """False also when the database cannot be asked."""
        try:
            return bool(await self._pool.fetchval(queries.OTHER_WORKER_IS_CONNECTED, WORKER, self._own, gateway))
        except UNAVAILABLE:
            return False
