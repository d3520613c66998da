"""How the worker says that it lives."""

from collections.abc import Callable
from typing import Any

import orjson

from shared.database import Pool
from shared.heartbeats import BEAT, process_name

WORKER = "signup-worker"


class Heartbeat:
    """Says that the worker lives, and how it fares."""

    name = "heartbeat"

    def __init__(self, pool: Pool, detail: Callable[[], dict[str, Any]]) -> None:
        self._pool = pool
        self._detail = detail

    async def run_once(self) -> bool:
        await self._pool.execute(BEAT, WORKER, process_name(), orjson.dumps(self._detail()).decode())
        return False
