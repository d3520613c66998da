"""Small loops of the worker: its heartbeat, and the partitions that the next months' rows will need."""

from collections.abc import Callable
from typing import Any

import orjson

from shared.database import Pool
from shared.heartbeats import BEAT, process_name

from . import queries

WORKER = "signup-worker"
# A quarter ahead: the worker may be down for weeks, and rows still find their month.
_MONTHS_AHEAD = 3


class Heartbeat:
    """Says that the worker lives, and how it fares."""

    name = "heartbeat"

    def __init__(self, pool: Pool, detail: Callable[[], dict[str, Any]]) -> None:
        self._pool = pool
        self._detail = detail

    async def run_once(self) -> bool:
        await self._pool.execute(BEAT, WORKER, process_name(), orjson.dumps(self._detail()).decode())
        return False


class Partitions:
    """Makes month partitions ahead of time, through the owner's function: the runtime role makes no tables."""

    name = "partitions"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run_once(self) -> bool:
        await self._pool.execute(queries.ENSURE_PARTITIONS, _MONTHS_AHEAD)
        return False
