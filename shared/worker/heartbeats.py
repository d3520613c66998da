"""Heartbeats of workers, which have no port: rows that the API of their service reads."""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ..db.pool import Pool

# $1 the kind of worker, $2 this process, $3 its detail. One row for the kind shows whether any worker lives; one
# for each process keeps their counters apart. A process that has been silent for an hour is removed. Rows that another
# worker has locked are skipped, because waiting for each other could deadlock.
BEAT = """
WITH gone AS (
    DELETE FROM heartbeats WHERE process IN (
        SELECT process FROM heartbeats
        WHERE process LIKE $1::text || '/%' AND process <> $1::text || '/' || $2::text
          AND at < now() - interval '1 hour'
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO heartbeats (process, at, detail)
SELECT process, now(), $3::jsonb FROM unnest(ARRAY[$1::text, $1::text || '/' || $2::text]) AS process
ON CONFLICT (process) DO UPDATE SET at = excluded.at, detail = excluded.detail
"""


def process_name() -> str:
    """Tells workers of one kind apart. A restarted container keeps its name: its counters start anew."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Heartbeat:
    """A loop: each run commits one heartbeat of `worker` with its current `detail`."""

    name = "heartbeat"

    def __init__(self, pool: Pool, worker: str, detail: Callable[[], Mapping[str, Any]]) -> None:
        self._pool = pool
        self._worker = worker
        self._detail = detail

    async def run_once(self) -> bool:
        await self._pool.execute(BEAT, self._worker, process_name(), orjson.dumps(self._detail()).decode())
        return False
